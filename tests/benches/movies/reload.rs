//! Replacing a plugin and a topology in a running host, with 1 and with 200 workers of that plugin. Each time is counted from
//! the moment that the file is in place, minus the debounce, which is a wait that the user has chosen. The baseline is the
//! least that anybody has to do: copy the same file, open it in this process, and start a thread for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mshost_core::ids::{GenerationId, PluginName};
use mshost_core::metrics::Metrics;
use mshost_plugin_host::{Generation, LoadOptions, ShadowCopy};
use mshost_tests::bench_table::Table;
use mshost_tests::movie_example;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::host::{BenchHost, Pilots, library};
use crate::{BenchResult, PATH, micros};

const ROUNDS: u32 = 21;
const PATIENCE: Duration = Duration::from_secs(60);

/// `host.debounce`, which the bench leaves as it is.
const DEBOUNCE: Duration = Duration::from_millis(200);

pub async fn figures(table: &mut Table) -> BenchResult {
    let bare = bare().await?;
    for instances in [1, 200] {
        let mut pilots = Pilots { instances, ..Pilots::default() };
        let host = BenchHost::start_with("embedded", &pilots).await?;
        until_all_others(&host, instances, &[]).await?;
        let before = Loads::read(&host).await?;
        let (mut first, mut all, mut applied) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let [job, rest] = replace(&host, instances, round).await?;
            first.push(job);
            all.push(rest);
            pilots.timeout_seconds += 1;
            let old = pilots_of(&host).await?;
            let saved = Instant::now();
            host.save(&pilots)?;
            until_all_others(&host, instances, &old).await?;
            applied.push(saved.elapsed().saturating_sub(DEBOUNCE));
        }
        let loads = Loads::read(&host).await?.since(&before);
        let workers = if instances == 1 { "1 worker".to_owned() } else { format!("{instances} workers") };
        table.row(format!("copy, probe and load a plugin, {workers}, mean"), Some(loads * 1e6), Some(bare[0]), "µs");
        rows(table, &format!("plugin file in place to first job of it, {workers}"), first, Some(bare));
        rows(table, &format!("plugin file in place to all on it, {workers}"), all, Some(bare));
        rows(table, &format!("topology saved to applied, {workers}"), applied, None);
    }
    Ok(())
}

fn rows(table: &mut Table, what: &str, mut times: Vec<Duration>, baseline: Option<[f64; 2]>) {
    times.sort();
    let (median, max) = (times[times.len() / 2], times[times.len() - 1]);
    table.row(format!("{what}, p50"), Some(micros(median)), baseline.map(|bare| bare[0]), "µs");
    table.row("  max", Some(micros(max)), baseline.map(|bare| bare[1]), "µs");
}

/// Puts another pilot in place. How long until the first job was done by it, and until all workers are its.
async fn replace(host: &BenchHost, instances: usize, round: u32) -> BenchResult<[Duration; 2]> {
    let version = format!("v{round:03}{instances:04}");
    let old = pilots_of(host).await?;
    let (path, temporary) = (host.plugins().join(library("pilot")), host.plugins().join(".pilot.tmp"));
    std::fs::write(&temporary, movie_example::pilot(&version))?;
    let mut client = TcpStream::connect(host.http).await?;
    let mark = format!("x-served-by: {version}");
    let placed = Instant::now();
    std::fs::rename(temporary, path)?;
    while !answer(&mut client).await?.to_ascii_lowercase().contains(&mark) {
        if placed.elapsed() > PATIENCE {
            return Err(format!("{version} never serves").into());
        }
    }
    let first = placed.elapsed();
    until_all_others(host, instances, &old).await?;
    Ok([first, placed.elapsed()].map(|time| time.saturating_sub(DEBOUNCE)))
}

/// The next response on a connection that is kept.
async fn answer(client: &mut TcpStream) -> BenchResult<String> {
    client.write_all(format!("GET {PATH} HTTP/1.1\r\nHost: bench\r\n\r\n").as_bytes()).await?;
    let mut bytes = Vec::new();
    loop {
        if client.read_buf(&mut bytes).await? == 0 {
            return Err("the edge closed the connection".into());
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(usize::MAX) {
            return Ok(head.to_owned());
        }
    }
}

/// The ids of the pilots that run.
async fn pilots_of(host: &BenchHost) -> BenchResult<Vec<String>> {
    let topology = host.topology().await?;
    let workers = topology["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let running = workers.iter().filter(|worker| worker["type"] == "WD" && worker["state"] == "running");
    Ok(running.filter_map(|worker| worker["id"].as_str().map(str::to_owned)).collect())
}

/// Waits until so many pilots run that are none of the old ones.
async fn until_all_others(host: &BenchHost, instances: usize, old: &[String]) -> BenchResult {
    let began = Instant::now();
    loop {
        let now = pilots_of(host).await?;
        if now.len() == instances && !now.iter().any(|id| old.contains(id)) {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            return Err("the pilots are not replaced".into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Copies, opens and starts the pilot without a host: median and maximum, in microseconds.
async fn bare() -> BenchResult<[f64; 2]> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join(library("pilot"));
    let options = LoadOptions::new(Metrics::new()?);
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        std::fs::write(&file, movie_example::pilot(&format!("b{round:07}")))?;
        let began = Instant::now();
        let copy = ShadowCopy::make(&file, folder.path())?;
        let name = PluginName::new("pilot");
        let generation = Generation::load(GenerationId(u64::from(round)), name, copy, options.clone()).await?;
        times.push(began.elapsed());
        Arc::clone(&generation).retire(PATIENCE).await;
    }
    times.sort();
    Ok([micros(times[times.len() / 2]), micros(times[times.len() - 1])])
}

/// `mshost_plugin_load_seconds`
struct Loads {
    count: f64,
    seconds: f64,
}

impl Loads {
    async fn read(host: &BenchHost) -> BenchResult<Self> {
        let metrics = host.metrics().await?;
        let value = |name: &str| -> BenchResult<f64> {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            Ok(line.ok_or_else(|| format!("no metric {name}"))?.parse()?)
        };
        Ok(Self {
            count: value("mshost_plugin_load_seconds_count")?,
            seconds: value("mshost_plugin_load_seconds_sum")?,
        })
    }

    /// The mean of the loads since then, in seconds.
    fn since(&self, before: &Self) -> f64 {
        (self.seconds - before.seconds) / (self.count - before.count)
    }
}
