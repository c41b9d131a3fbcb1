//! `make bench`: what the host costs, each figure next to the least that could do the same, measured in the same run.
//!
//! It runs the release builds of the host and of the movie plugins; `make bench` sees to them. Arguments choose among
//! `http`, `amqp`, `hop`, `embedded`, `process`, `abi` and `reload`; without one, all are measured. `MSHOST_BENCH_SECONDS`
//! (default 10) is the time per load, which comes in several turns; the table shows the medians of the turns.

mod abi;
mod amqp;
mod amqp_hop;
mod embedded;
mod host;
mod http;
mod process;
mod reload;
mod turns;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use mshost_tests::bench_table::Table;
use mshost_tests::env_settings::number;

type BenchResult<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

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

async fn measure() -> BenchResult<Table> {
    let each = Duration::from_secs(number("MSHOST_BENCH_SECONDS", 10)?);
    let chosen: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |part: &str| chosen.is_empty() || chosen.iter().any(|name| name == part);
    let mut table = Table::default();
    if wanted("http") {
        http::figures(&mut table, each).await?;
    }
    if wanted("amqp") {
        amqp::figures(&mut table, each).await?;
    }
    if wanted("hop") {
        amqp_hop::figures(&mut table, each).await?;
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

/// Rate, median and 99th percentile of a load in which nothing has failed.
fn summary(report: &mshost_tests::load::LoadReport) -> [f64; 3] {
    report.assert_flawless();
    [report.rate(), micros(report.latency(0.5)), micros(report.latency(0.99))]
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1_000.0
}
