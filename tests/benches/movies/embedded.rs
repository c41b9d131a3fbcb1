//! One hop of the embedded bus, against the same hop through tokio's channels.

use mshost_tests::bench_table::Table;
use mshost_tests::embedded_hop::{Hops, measure};

use crate::BenchResult;
use crate::turns::ROUNDS;

/// In each round.
const HOPS: u32 = 100_000;

pub async fn figures(table: &mut Table) -> BenchResult {
    for (two_threads, threads) in [(false, "one thread"), (true, "two threads")] {
        // It brings its own runtime.
        let rounds = tokio::task::spawn_blocking(move || (0..ROUNDS).map(|_| measure(HOPS, two_threads)).collect());
        let rounds: Vec<Hops> = rounds.await?;
        let mut row = |what: &str, figure: fn(&Hops) -> (f64, f64)| {
            let rounds: Vec<_> = rounds.iter().map(figure).collect();
            table.rounds(format!("embedded hop, {what}, {threads}"), &rounds, "ns");
        };
        row("to and fro", |hops| (hops.embedded_ping_pong, hops.mpsc_ping_pong));
        row("nobody to wake", |hops| (hops.embedded_alone, hops.mpsc_alone));
    }
    Ok(())
}
