//! Two loads in turns: what else the machine does meanwhile meets both.

use std::io::Write;
use std::time::Duration;

use mshost_tests::bench_table::Table;

use crate::BenchResult;

/// How often each has its turn.
pub const ROUNDS: u32 = 5;

/// A load's figures: how many a second, the median and the 99th percentile of one in microseconds.
pub type BenchFigures = [f64; 3];

/// Measures both for `each`, and adds a row for each figure. What comes first in one round comes last in the next.
pub async fn compare(
    table: &mut Table,
    what: &str,
    unit: &'static str,
    each: Duration,
    ours: impl AsyncFn(Duration) -> BenchResult<BenchFigures>,
    baseline: impl AsyncFn(Duration) -> BenchResult<BenchFigures>,
) -> BenchResult {
    let turn = each / ROUNDS;
    // The table comes at the end.
    let _ = writeln!(std::io::stderr(), "measuring: {what}");
    // Nothing is measured while caches, pools and queues fill.
    ours(turn / 2).await?;
    baseline(turn / 2).await?;
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        rounds.push(if round % 2 == 0 {
            let ours = ours(turn).await?;
            (ours, baseline(turn).await?)
        } else {
            let baseline = baseline(turn).await?;
            (ours(turn).await?, baseline)
        });
    }
    let of = |figure: usize| rounds.iter().map(|(ours, baseline)| (ours[figure], baseline[figure])).collect::<Vec<_>>();
    table.rounds(what, &of(0), unit);
    table.rounds("  p50", &of(1), "µs");
    table.rounds("  p99", &of(2), "µs");
    Ok(())
}
