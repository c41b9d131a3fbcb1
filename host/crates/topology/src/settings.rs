//! The settings besides those of workers: which differ, and when a running host takes them up.

use super::config::{BusConfig, HostConfig, ManagerConfig, Topology};

/// A setting that differs. Its values are not said: a URL that differs by its password alone would seem not to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangedSetting {
    /// Its table and name.
    pub name: &'static str,
    /// Whether it takes effect only when the host is started again.
    pub needs_restart: bool,
}

impl Topology {
    /// What differs in `newer`.
    #[must_use]
    pub fn changed_settings(&self, newer: &Topology) -> Vec<ChangedSetting> {
        let mut found = Found::default();
        // Whether workers can move to another bus while the host runs.
        let stays = !self.bus.can_move_to(&newer.bus);
        host(&self.host, &newer.host, &mut found);
        bus(&self.bus, &newer.bus, stays, &mut found);
        manager(&self.manager, &newer.manager, &mut found);
        found.at_once("[log]", self.logs == newer.logs);
        found.0
    }

    /// What a running host makes of `newer`: what takes effect at a restart only goes on being what it is.
    #[must_use]
    pub fn in_effect(&self, newer: Topology) -> Topology {
        let HostConfig { name, admin, state, plugin_threads, mapped_limit, snapshot_limit, canary, .. } =
            self.host.clone();
        let host =
            HostConfig { name, admin, state, plugin_threads, mapped_limit, snapshot_limit, canary, ..newer.host };
        let bus = if self.bus.can_move_to(&newer.bus) { newer.bus } else { self.bus.clone() };
        let manager = ManagerConfig { enabled: self.manager.enabled, ..newer.manager };
        Topology { host, bus, manager, ..newer }
    }

    /// What differs in `newer` and takes effect only when the host is started again, each as a sentence.
    #[must_use]
    pub fn restart_needed(&self, newer: &Topology) -> Vec<String> {
        let needed = self.changed_settings(newer).into_iter().filter(|setting| setting.needs_restart);
        needed.map(|setting| format!("{} has changed; restart the host to apply it", setting.name)).collect()
    }
}

#[derive(Default)]
struct Found(Vec<ChangedSetting>);

impl Found {
    fn at_once(&mut self, name: &'static str, same: bool) {
        self.add(name, same, false);
    }

    fn at_restart(&mut self, name: &'static str, same: bool) {
        self.add(name, same, true);
    }

    fn add(&mut self, name: &'static str, same: bool, needs_restart: bool) {
        if !same {
            self.0.push(ChangedSetting { name, needs_restart });
        }
    }
}

// Each destructures, so that a new setting is an error here until it is compared.

fn host(old: &HostConfig, new: &HostConfig, found: &mut Found) {
    let HostConfig {
        name,
        plugins,
        admin,
        state,
        debounce,
        plugin_threads,
        parallel_loads,
        shutdown_timeout,
        mapped_limit,
        watch,
        snapshot_limit,
        canary,
    } = new;
    found.at_restart("[host] name", old.name == *name);
    found.at_once("[host] plugins", old.plugins == *plugins);
    found.at_restart("[host] admin", old.admin == *admin);
    found.at_restart("[host] state", old.state == *state);
    found.at_once("[host] debounce", old.debounce == *debounce);
    found.at_restart("[host] plugin_threads", old.plugin_threads == *plugin_threads);
    found.at_once("[host] parallel_loads", old.parallel_loads == *parallel_loads);
    found.at_once("[host] shutdown_timeout", old.shutdown_timeout == *shutdown_timeout);
    found.at_restart("[host] mapped_limit", old.mapped_limit == *mapped_limit);
    found.at_once("[host] watch", old.watch == *watch);
    found.at_restart("[host] snapshot_limit", old.snapshot_limit == *snapshot_limit);
    found.at_restart("[host] canary", old.canary == *canary);
}

fn bus(old: &BusConfig, new: &BusConfig, stays: bool, found: &mut Found) {
    let BusConfig { url, tls, codec, durability, absent, journal, limits } = new;
    found.add("[bus] url", old.url == *url, stays);
    found.add("the TLS of [bus]", old.tls == *tls, stays);
    found.add("[bus] codec", old.codec == *codec, stays);
    found.add("[bus] durability", old.durability == *durability, stays);
    found.add("[bus] absent", old.absent == *absent, stays);
    found.add("[bus] journal", old.journal == *journal, stays);
    found.add("a limit of [bus]", old.limits == *limits, stays);
}

fn manager(old: &ManagerConfig, new: &ManagerConfig, found: &mut Found) {
    let ManagerConfig { enabled, keepalive, expire_after, max_workers, max_proxies } = new;
    found.at_restart("[manager] enabled", old.enabled == *enabled);
    found.at_once("[manager] keepalive", old.keepalive == *keepalive);
    found.at_once("[manager] expire_after", old.expire_after == *expire_after);
    found.at_once("[manager] max_workers", old.max_workers == *max_workers);
    found.at_once("[manager] max_proxies", old.max_proxies == *max_proxies);
}
