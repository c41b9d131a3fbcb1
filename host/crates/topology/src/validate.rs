//! What no single value shows: combinations that cannot work, and such as are hardly meant.

use std::net::SocketAddr;

use mshost_bus::BusUrl;
use toml::de::DeTable;

use super::config::{BusConfig, HostConfig, ManagerConfig, ParkedJobs, WorkerConfig};
use super::diagnostics::{Diagnostic, Doubt};
use super::keys::bus::{JOURNAL, JOURNAL_LIMIT, JOURNAL_SYNC};
use super::read_context::{ReadContext, Span};

/// What is checked, and the document to look up the places of what has no span of its own.
pub(crate) struct Checked<'t> {
    pub host: &'t HostConfig,
    pub bus: &'t BusConfig,
    pub manager: &'t ManagerConfig,
    pub workers: &'t [WorkerConfig],
    pub document: &'t DeTable<'t>,
}

impl Checked<'_> {
    pub(crate) fn span(&self, table: &str, key: &str) -> Option<Span> {
        self.document.get(table)?.get_ref().get(key).map(toml::Spanned::span)
    }
}

pub(crate) fn check(cx: &ReadContext<'_>, checked: &Checked<'_>) {
    if checked.workers.is_empty() && !checked.document.contains_key("worker") {
        cx.report(
            Diagnostic::warning("the topology has no workers")
                .at(0..0, "")
                .help("add one: `[[worker]]` with a `type` and a `plugin`")
                .doubted(Doubt::Missing),
        );
    }
    same_worker_twice(cx, checked.workers);
    same_address_twice(cx, checked);
    too_many_instances(cx, checked);
    drain_longer_than_shutdown(cx, checked);
    journal_without_use(cx, checked);
    parked_without_manager(cx, checked);
}

/// One type may be served by several plugins, which share its jobs: that is how a new implementation is tried next to the
/// old one. One plugin may serve several types. But type and plugin together name a [`Slot`](super::Slot), so that a
/// reload knows which worker is which; a second entry of both could only mean more instances of the first.
fn same_worker_twice(cx: &ReadContext<'_>, workers: &[WorkerConfig]) {
    for (index, worker) in workers.iter().enumerate() {
        let first = workers[..index]
            .iter()
            .find(|first| first.worker_type == worker.worker_type && first.plugin == worker.plugin);
        if let Some(first) = first {
            let WorkerConfig { worker_type, plugin, .. } = worker;
            cx.report(
                Diagnostic::error(format!("the worker `{worker_type}` of plugin `{plugin}` is there twice"))
                    .at(worker.spans.worker_type.clone(), "again here")
                    .also(first.spans.worker_type.clone(), "first here")
                    .help("for more of the same, set `instances` of the first"),
            );
        }
    }
}

fn same_address_twice(cx: &ReadContext<'_>, checked: &Checked<'_>) {
    let mut seen: Vec<(SocketAddr, Option<Span>, String)> = Vec::new();
    let admin_span = checked.span("host", "admin");
    seen.extend(checked.host.admin.map(|admin| (admin, admin_span, "the admin server".to_owned())));
    for worker in checked.workers {
        for (name, address) in &worker.listen {
            let span = worker.spans.listen.get(name).cloned().unwrap_or_default();
            if let Some((other, place, who)) = seen.iter().find(|(other, _, _)| overlap(*other, *address)) {
                let error = Diagnostic::error(format!("{address} is taken: {who} listens on {other}"));
                let error = error.at(span.clone(), "cannot listen here too");
                cx.report(match place {
                    Some(place) => error.also(place.clone(), "taken here"),
                    None => error.help("that is the default; set `admin` in [host] to another address or to \"off\""),
                });
            }
            seen.push((*address, Some(span), format!("worker `{}`", worker.worker_type)));
        }
    }
}

/// A manager that cannot keep the workers of its own host would tell senders that some are not there.
fn too_many_instances(cx: &ReadContext<'_>, checked: &Checked<'_>) {
    let instances: usize = checked.workers.iter().map(|worker| worker.instances as usize).sum();
    let max = checked.manager.max_workers;
    if !checked.manager.enabled || instances <= max {
        return;
    }
    let error = Diagnostic::error(format!("{instances} instances are more than the manager's `max_workers` of {max}"));
    cx.report(match checked.span("manager", "max_workers") {
        Some(span) => error.at(span, format!("at least {instances} are needed")),
        None => error.at(0..0, "").help(format!("set `max_workers` in [manager] to {instances} or more")),
    });
}

fn drain_longer_than_shutdown(cx: &ReadContext<'_>, checked: &Checked<'_>) {
    let shutdown = checked.host.shutdown_timeout;
    for worker in checked.workers.iter().filter(|worker| worker.drain_timeout > shutdown) {
        let time = humantime::format_duration;
        let span = worker.spans.drain_timeout.clone().or_else(|| checked.span("defaults", "drain_timeout"));
        let warning = Diagnostic::warning(format!(
            "worker `{}` may drain for {}, but a shutdown is forced after {}",
            worker.worker_type,
            time(worker.drain_timeout),
            time(shutdown)
        ));
        let warning = warning.at(span.unwrap_or_else(|| worker.spans.header.clone()), "longer than the shutdown");
        cx.report(match checked.span("host", "shutdown_timeout") {
            Some(span) => warning.also(span, "the shutdown's limit"),
            None => warning.help("the shutdown's limit is `shutdown_timeout` in [host]"),
        });
    }
}

/// Who else serves a type is the manager's to know; without one, jobs that others would do were given up.
fn parked_without_manager(cx: &ReadContext<'_>, checked: &Checked<'_>) {
    if checked.manager.enabled {
        return;
    }
    for worker in checked.workers.iter().filter(|worker| worker.parked == ParkedJobs::Fail) {
        let message =
            format!("`parked = \"fail\"` has no use for worker `{}`: there is no manager", worker.worker_type);
        let warning = Diagnostic::warning(message).at(worker.spans.header.clone(), "its jobs will wait");
        cx.report(warning.help("set `enabled = true` in [manager]"));
    }
}

fn journal_without_use(cx: &ReadContext<'_>, checked: &Checked<'_>) {
    let (why, help) = match checked.bus.url {
        BusUrl::Amqp(_) => ("RabbitMQ keeps the jobs itself", "what they outlive there is `durability`"),
        BusUrl::Embedded if checked.bus.journal.is_none() => ("there is no journal", "set `journal` to a folder"),
        BusUrl::Embedded => return,
    };
    for key in [JOURNAL.name, JOURNAL_SYNC.name, JOURNAL_LIMIT.name] {
        if let Some(span) = checked.span("bus", key) {
            let warning = Diagnostic::warning(format!("`{key}` has no use: {why}"));
            cx.report(warning.at(span, "has no use").help(help));
        }
    }
}

/// Whether one process cannot listen on both. Port 0 is a free port each time. `[::]` takes IPv4 as well.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let any = |address: SocketAddr, other: SocketAddr| {
        address.ip().is_unspecified() && (address.is_ipv6() || other.is_ipv4())
    };
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || any(a, b) || any(b, a))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_overlap_as_the_kernel_sees_it() {
        for (a, b, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "127.0.0.2:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::]:80", "[::1]:80", true),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            assert_eq!(overlap(a.parse().unwrap(), b.parse().unwrap()), expected, "{a} {b}");
            assert_eq!(overlap(b.parse().unwrap(), a.parse().unwrap()), expected, "{b} {a}");
        }
    }
}
