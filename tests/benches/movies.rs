//! `make bench`: what the host costs, each figure next to the least that could do the same, measured in the same run.
//!
//! `MSHOST_BENCH_SECONDS` (default 5) is the time per figure; `MSHOST_BENCH_AMQP` the broker, without which its figures
//! are left out.

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use mshost_tests::baseline::amqp::AmqpLoop;
use mshost_tests::baseline::{channel, http};
use mshost_tests::load::Load;
use mshost_tests::table::Table;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const PATH: &str = "/movies/";
/// REST to pilot, pilot to database, database to REST.
const HOPS: usize = 3;
const PAYLOAD: usize = 200;
const ROUND_TRIPS: u32 = 500_000;
/// What the movie service answers to the first `GET`.
const MOVIES: &[u8] = br#"[{"id":1,"title":"Metropolis","year":1927},{"id":2,"title":"Seven Samurai","year":1954},{"id":3,"title":"2001: A Space Odyssey","year":1968}]"#;

#[tokio::main]
async fn main() -> Outcome {
    let seconds = std::env::var("MSHOST_BENCH_SECONDS").map_or(Ok(5), |text| text.parse())?;
    let each = Duration::from_secs(seconds);
    let mut table = Table::default();
    http_figures(&mut table, each).await?;
    channel_figures(&mut table).await;
    if let Ok(url) = std::env::var("MSHOST_BENCH_AMQP") {
        amqp_figures(&mut table, &url, each).await?;
    }
    write!(std::io::stdout(), "\n{table}")?;
    Ok(())
}

/// The movie loop on the embedded bus, against a bare hyper server that returns the same bytes.
async fn http_figures(table: &mut Table, each: Duration) -> Outcome {
    let address = bare_server()?;
    for connections in [1, 64] {
        let bare = Load::new(address, PATH, connections).run_for(each).await;
        bare.assert_flawless();
        let what = format!("movie loop, embedded bus, {connections} connections");
        table.row(what.clone(), None, Some(bare.rate()), "requests/s");
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
            table.row(format!("  {name}"), None, Some(micros(bare.latency(quantile))), "µs");
        }
    }
    Ok(())
}

/// One hop of the embedded bus, against a round trip over tokio's channels.
async fn channel_figures(table: &mut Table) {
    let payload = Bytes::from(vec![b'x'; PAYLOAD]);
    for in_flight in [1, 64] {
        let bare = channel::round_trip(ROUND_TRIPS, in_flight, payload.clone()).await;
        table.row(format!("embedded hop, {in_flight} in flight"), None, Some(bare.as_nanos() as f64), "ns");
    }
}

/// The movie loop on RabbitMQ, against the same hops made of bare lapin.
async fn amqp_figures(table: &mut Table, url: &str, each: Duration) -> Outcome {
    for in_flight in [1, 64] {
        let bare = AmqpLoop { url: url.to_owned(), hops: HOPS, in_flight, payload: PAYLOAD }.run_for(each).await?;
        table.row(format!("movie loop, RabbitMQ, {in_flight} in flight"), None, Some(bare.rate), "loops/s");
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
            table.row(format!("  {name}"), None, Some(bare.micros.value_at_quantile(quantile) as f64), "µs");
        }
    }
    Ok(())
}

/// On a runtime of its own, as the host's is; it ends with the process.
fn bare_server() -> Outcome<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            http::serve(tokio::net::TcpListener::from_std(listener)?, Bytes::from_static(MOVIES)).await
        })
    });
    Ok(address)
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1_000.0
}
