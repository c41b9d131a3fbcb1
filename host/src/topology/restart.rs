//! The settings that a running host cannot change.

use std::fmt::Debug;

use super::config::{BusConfig, HostConfig, ManagerConfig, Topology};

impl Topology {
    /// What differs in `newer` and takes effect only when the host is started again, each as a sentence.
    #[must_use]
    pub fn restart_needed(&self, newer: &Topology) -> Vec<String> {
        let mut found = Vec::new();
        host(&self.host, &newer.host, &mut found);
        bus(&self.bus, &newer.bus, &mut found);
        manager(&self.manager, &newer.manager, &mut found);
        found
    }
}

// Each destructures, so that a new setting is an error here until it is compared.

fn host(old: &HostConfig, new: &HostConfig, found: &mut Vec<String>) {
    let HostConfig { name, plugins, admin, state, debounce, plugin_threads, shutdown_timeout, watch } = new;
    compare("[host] name", &old.name, name, found);
    compare("[host] plugins", &old.plugins, plugins, found);
    compare("[host] admin", &old.admin, admin, found);
    compare("[host] state", &old.state, state, found);
    compare("[host] debounce", &old.debounce, debounce, found);
    compare("[host] plugin_threads", &old.plugin_threads, plugin_threads, found);
    compare("[host] shutdown_timeout", &old.shutdown_timeout, shutdown_timeout, found);
    compare("[host] watch", &old.watch, watch, found);
}

fn bus(old: &BusConfig, new: &BusConfig, found: &mut Vec<String>) {
    let BusConfig { url, tls, codec, durability, absent, journal, limits } = new;
    compare("[bus] url", &old.url, url, found);
    compare("the TLS of [bus]", &old.tls, tls, found);
    compare("[bus] codec", &old.codec, codec, found);
    compare("[bus] durability", &old.durability, durability, found);
    compare("[bus] absent", &old.absent, absent, found);
    compare("[bus] journal", &old.journal, journal, found);
    compare("a limit of [bus]", &old.limits, limits, found);
}

fn manager(old: &ManagerConfig, new: &ManagerConfig, found: &mut Vec<String>) {
    let ManagerConfig { enabled, keepalive, expire_after, max_workers } = new;
    compare("[manager] enabled", &old.enabled, enabled, found);
    compare("[manager] keepalive", &old.keepalive, keepalive, found);
    compare("[manager] expire_after", &old.expire_after, expire_after, found);
    compare("[manager] max_workers", &old.max_workers, max_workers, found);
}

/// `Debug` leaves passwords out, but a URL that differs by its password alone would seem not to differ: so no values.
fn compare<T: PartialEq + Debug>(what: &str, old: &T, new: &T, found: &mut Vec<String>) {
    if old != new {
        found.push(format!("{what} has changed; restart the host to apply it"));
    }
}
