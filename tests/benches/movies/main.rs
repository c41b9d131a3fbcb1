//! `make bench`: what the host costs, each figure next to the least that could do the same, measured in the same run.
//!
//! It runs the release builds of the host and of the movie plugins; `make bench` sees to them. Arguments choose among
//! `http`, `amqp`, `embedded`, `process`, `abi` and `reload`; without one, all are measured. `MSHOST_BENCH_SECONDS` (default 5) is the time
//! per load.

mod abi;
mod amqp;
mod embedded;
mod host;
mod http;
mod process;
mod reload;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use mshost_tests::table::Table;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Where the movies are.
const PATH: &str = "/movies/";

#[tokio::main]
async fn main() -> ExitCode {
    match measure().await {
        Ok(table) => {
            let _ = write!(std::io::stdout(), "\n{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> Outcome<Table> {
    let seconds = std::env::var("MSHOST_BENCH_SECONDS").map_or(Ok(5), |text| text.parse())?;
    let each = Duration::from_secs(seconds);
    let chosen: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |part: &str| chosen.is_empty() || chosen.iter().any(|name| name == part);
    let mut table = Table::default();
    if wanted("http") {
        http::figures(&mut table, each).await?;
    }
    if wanted("amqp") {
        amqp::figures(&mut table, each).await?;
    }
    if wanted("embedded") {
        embedded::figures(&mut table).await?;
    }
    if wanted("process") {
        process::figures(&mut table).await?;
    }
    if wanted("abi") {
        abi::figures(&mut table).await?;
    }
    if wanted("reload") {
        reload::figures(&mut table).await?;
    }
    Ok(table)
}

/// The columns of a load: requests a second, median, 99th percentile.
fn load_rows(table: &mut Table, what: &str, ours: [f64; 3], baseline: [f64; 3]) {
    table.row(what, Some(ours[0]), Some(baseline[0]), "requests/s");
    table.row("  p50", Some(ours[1]), Some(baseline[1]), "µs");
    table.row("  p99", Some(ours[2]), Some(baseline[2]), "µs");
}

/// Rate, median and 99th percentile of a load in which nothing has failed.
fn summary(report: &mshost_tests::load::Report) -> [f64; 3] {
    report.assert_flawless();
    [report.rate(), micros(report.latency(0.5)), micros(report.latency(0.99))]
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1_000.0
}
