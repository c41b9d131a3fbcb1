//! What these tests begin with.

use std::time::Duration;

use mshost_bus::Codec;
use mshost_tests::broker::Broker;
use mshost_tests::fixtures;
use mshost_tests::host_process::{HostProcess, HostSite, LIMIT, workers};
use mshost_tests::wait::poll;
use serde_json::Value;

/// How often both managers ask who is there.
pub const KEEPALIVE: Duration = Duration::from_millis(500);

/// A virtual host of this name for a codec; one codec for the whole bus.
pub fn bus(name: &str, codec: Codec) -> String {
    Broker::shared().url_of(&format!("{name}-{codec}"))
}

/// A host whose manager is quick to miss who no longer answers, with two workers of type `EC`, which run.
pub fn host(url: &str, codec: Codec) -> HostProcess {
    let site = HostSite::new();
    site.plugin(&fixtures::fixture("echo"));
    site.topology(&topology(url, codec));
    let host = HostProcess::start(site, &[]);
    host.until_running("EC", 2);
    host
}

/// The topology of [`host`].
pub fn topology(url: &str, codec: Codec) -> String {
    format!(
        r#"
[host]
admin = "127.0.0.1:0"
[bus]
url = "{url}"
codec = "{codec}"
[manager]
keepalive = "500ms"
expire_after = "2s"
[[worker]]
type = "EC"
plugin = "mshost_fixture_echo"
instances = 2
"#
    )
}

/// The ids of the host's own workers of type `EC`.
pub fn own(host: &HostProcess) -> Vec<String> {
    workers(&host.topology(), "EC").map(|worker| worker["id"].as_str().unwrap().to_owned()).collect()
}

/// Waits until the host's manager knows this many workers of a type, on whatever host.
pub fn until_known(host: &HostProcess, worker_type: &str, count: u64) {
    let known = |topology: &Value| topology["bus"]["workers"][worker_type].as_u64().unwrap_or_default();
    host.until_topology(&format!("{count} known {worker_type}"), |topology| (known(topology) == count).then_some(()));
}

/// Runs a test in each codec at the same time, each on a bus of its own.
pub fn in_each_codec(name: &str, test: fn(&str, Codec)) {
    let urls = Broker::shared().urls_of(Codec::ALL.map(|codec| format!("{name}-{codec}")));
    std::thread::scope(|scope| {
        for (url, codec) in urls.iter().zip(Codec::ALL) {
            scope.spawn(move || test(url, codec));
        }
    });
}

/// The sum of a host's metrics whose names and labels begin like this.
pub fn metric(host: &HostProcess, start: &str) -> u64 {
    let metrics = host.ask("/metrics").body;
    metrics
        .lines()
        .filter(|line| line.starts_with(start))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// Waits until a metric has a value.
pub fn until_metric(host: &HostProcess, start: &str, value: u64) {
    let last = std::cell::Cell::new(0);
    let reached = poll(LIMIT, || {
        last.set(metric(host, start));
        (last.get() == value).then_some(())
    });
    assert!(reached.is_some(), "{start} is {} and not {value}\n{}", last.get(), host.log_text());
}

/// The start of the line of `mshost_interop_jobs_total`.
pub fn interop_jobs(direction: &str, outcome: &str) -> String {
    format!(r#"mshost_interop_jobs_total{{direction="{direction}",outcome="{outcome}"}}"#)
}

/// Waits until a metric has at least a value.
pub fn until_at_least(host: &HostProcess, start: &str, value: u64) {
    let reached = poll(LIMIT, || (metric(host, start) >= value).then_some(()));
    assert!(reached.is_some(), "{start} is {} and not {value}\n{}", metric(host, start), host.log_text());
}
