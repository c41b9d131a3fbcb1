//! Replacing a plugin in a running host. There is nothing to compare it with: nobody else does it.

use std::time::{Duration, Instant};

use mshost_tests::table::Table;

use crate::host::{Host, library, release};
use crate::{Outcome, micros};

const RELOADS: u32 = 20;
const PATIENCE: Duration = Duration::from_secs(30);

pub async fn figures(table: &mut Table) -> Outcome {
    let host = Host::start("embedded").await?;
    let before = Loads::read(&host).await?;
    let mut times = Vec::new();
    for n in 0..RELOADS {
        times.push(replace(&host, n).await?);
    }
    let after = Loads::read(&host).await?;
    times.sort();
    let loads = (after.seconds - before.seconds) / (after.count - before.count);
    table.row("copy, probe and load a plugin, mean", Some(loads * 1e6), None, "µs");
    table.row("new plugin file to new version loaded, median", Some(micros(times[times.len() / 2])), None, "µs");
    Ok(())
}

/// Puts a file of other contents in place of the pilot, and waits until the host has loaded it.
async fn replace(host: &Host, n: u32) -> Outcome<Duration> {
    let file = library("pilot");
    let mut bytes = std::fs::read(release().join(&file))?;
    // The loader does not look behind the end of the ELF file.
    bytes.extend(n.to_le_bytes());
    let (path, temporary) = (host.plugins().join(&file), host.plugins().join(".pilot.tmp"));
    std::fs::write(&temporary, bytes)?;
    let loads = Loads::read(host).await?.count;
    let started = Instant::now();
    std::fs::rename(temporary, path)?;
    while Loads::read(host).await?.count <= loads {
        if started.elapsed() > PATIENCE {
            return Err("the host does not load the new plugin".into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(started.elapsed())
}

/// `mshost_plugin_load_seconds`
struct Loads {
    count: f64,
    seconds: f64,
}

impl Loads {
    async fn read(host: &Host) -> Outcome<Self> {
        let metrics = host.metrics().await?;
        let value = |name: &str| -> Outcome<f64> {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            Ok(line.ok_or_else(|| format!("no metric {name}"))?.parse()?)
        };
        Ok(Self {
            count: value("mshost_plugin_load_seconds_count")?,
            seconds: value("mshost_plugin_load_seconds_sum")?,
        })
    }
}
