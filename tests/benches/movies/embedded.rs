//! One hop of the embedded bus, against the same hop through tokio's channels.

use mshost_tests::hop::{Hops, measure};
use mshost_tests::table::Table;

use crate::Outcome;

const HOPS: u32 = 400_000;

pub async fn figures(table: &mut Table) -> Outcome {
    for (two_threads, threads) in [(false, "one thread"), (true, "two threads")] {
        // It brings its own runtime.
        let hops: Hops = tokio::task::spawn_blocking(move || measure(HOPS, two_threads)).await?;
        let mut row = |what: &str, ours: f64, baseline: f64| {
            table.row(format!("embedded hop, {what}, {threads}"), Some(ours), Some(baseline), "ns");
        };
        row("to and fro", hops.embedded_ping_pong, hops.mpsc_ping_pong);
        row("nobody to wake", hops.embedded_alone, hops.mpsc_alone);
    }
    Ok(())
}
