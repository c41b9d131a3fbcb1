//! The settings besides those of workers: which differ in a newer topology, and when a running host takes them up.

use super::config::{BusConfig, HostConfig, ManagerConfig, Topology};
use super::declaration::{AppliedWhen, DeclaredKey};
use super::keys;

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
        self.take_up(newer.clone()).1
    }

    /// What a running host makes of `newer`: what takes effect at a restart only goes on being what it is.
    #[must_use]
    pub fn in_effect(&self, newer: Topology) -> Topology {
        self.take_up(newer).0
    }

    /// What differs in `newer` and takes effect only when the host is started again, each as a sentence.
    #[must_use]
    pub fn restart_needed(&self, newer: &Topology) -> Vec<String> {
        let needed = self.changed_settings(newer).into_iter().filter(|setting| setting.needs_restart);
        needed.map(|setting| format!("{} has changed; restart the host to apply it", setting.name)).collect()
    }

    fn take_up(&self, mut newer: Topology) -> (Topology, Vec<ChangedSetting>) {
        let mut comparison = SettingComparison::default();
        comparison.host(&self.host, &mut newer.host);
        comparison.bus(&self.bus, &mut newer.bus);
        comparison.manager(&self.manager, &mut newer.manager);
        comparison.add("[log]", self.logs == newer.logs, false);
        (newer, comparison.changed)
    }
}

/// Compares settings, and keeps the old value of those that take effect at a restart.
#[derive(Default)]
struct SettingComparison {
    changed: Vec<ChangedSetting>,
}

impl SettingComparison {
    fn setting<T: PartialEq + Clone>(&mut self, key: &dyn DeclaredKey, old: &T, new: &mut T) {
        let needs_restart = key.applied() == AppliedWhen::AtRestart;
        self.add(key.setting(), old == new, needs_restart);
        if needs_restart {
            new.clone_from(old);
        }
    }

    fn add(&mut self, name: &'static str, same: bool, needs_restart: bool) {
        if !same {
            self.changed.push(ChangedSetting { name, needs_restart });
        }
    }

    // Each destructures, so that a new setting is an error here until it is compared.

    fn host(&mut self, old: &HostConfig, new: &mut HostConfig) {
        use keys::host as key;
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
        self.setting(&key::NAME, &old.name, name);
        self.setting(&key::PLUGINS, &old.plugins, plugins);
        self.setting(&key::ADMIN, &old.admin, admin);
        self.setting(&key::STATE, &old.state, state);
        self.setting(&key::DEBOUNCE, &old.debounce, debounce);
        self.setting(&key::PLUGIN_THREADS, &old.plugin_threads, plugin_threads);
        self.setting(&key::PARALLEL_LOADS, &old.parallel_loads, parallel_loads);
        self.setting(&key::SHUTDOWN_TIMEOUT, &old.shutdown_timeout, shutdown_timeout);
        self.setting(&key::MAPPED_LIMIT, &old.mapped_limit, mapped_limit);
        self.setting(&key::WATCH, &old.watch, watch);
        self.setting(&key::SNAPSHOT_LIMIT, &old.snapshot_limit, snapshot_limit);
        self.setting(&key::CANARY, &old.canary, canary);
    }

    /// All of it changes together, by a migration to the new bus, or stays until a restart.
    fn bus(&mut self, old: &BusConfig, new: &mut BusConfig) {
        let stays = !old.can_move_to(new);
        let BusConfig { url, tls, codec, durability, absent, journal, limits } = &*new;
        self.add(keys::bus::URL.setting, old.url == *url, stays);
        self.add("the TLS of [bus]", old.tls == *tls, stays);
        self.add(keys::bus::CODEC.setting, old.codec == *codec, stays);
        self.add(keys::bus::DURABILITY.setting, old.durability == *durability, stays);
        self.add(keys::bus::ABSENT.setting, old.absent == *absent, stays);
        self.add(keys::bus::JOURNAL.setting, old.journal == *journal, stays);
        self.add("a limit of [bus]", old.limits == *limits, stays);
        if stays {
            new.clone_from(old);
        }
    }

    fn manager(&mut self, old: &ManagerConfig, new: &mut ManagerConfig) {
        use keys::manager as key;
        let ManagerConfig { enabled, keepalive, expire_after, max_workers, max_proxies } = new;
        self.setting(&key::ENABLED, &old.enabled, enabled);
        self.setting(&key::KEEPALIVE, &old.keepalive, keepalive);
        self.setting(&key::EXPIRE_AFTER, &old.expire_after, expire_after);
        self.setting(&key::MAX_WORKERS, &old.max_workers, max_workers);
        self.setting(&key::MAX_PROXIES, &old.max_proxies, max_proxies);
    }
}
