//! The gauges that are set when metrics are read, because nothing counts them along the way.

use std::collections::BTreeMap;

use mshost_core::metrics::Metrics;
use mshost_core::status::{BusHealth, HostStatus, ManagerState, PluginState};

/// How the name of a type's queue ends. The queues of single workers are left out: their ids would be labels for ever.
const OF_A_TYPE: &str = ":*";

/// Sets them to how the host is.
pub(super) fn set(metrics: &Metrics, status: &HostStatus) {
    metrics.bus_connected.set(i64::from(status.bus.state == BusHealth::Connected));
    // While workers move to another bus there are two managers, each of which has set it.
    metrics.manager_active.set(i64::from(status.bus.manager == ManagerState::Active));
    // What is gone, or not known now, must not stand at its last value.
    metrics.dead_letters_kept.reset();
    if let Some(kept) = status.bus.dead_letters {
        metrics.dead_letters_kept.with_label_values::<&str>(&[]).set(i64::try_from(kept).unwrap_or(i64::MAX));
    }
    metrics.queue_ready.reset();
    for queue in status.queues.iter().filter(|queue| queue.queue.ends_with(OF_A_TYPE)) {
        let ready = i64::try_from(queue.ready).unwrap_or(i64::MAX);
        metrics.queue_ready.with_label_values(&[&queue.queue]).set(ready);
    }
    metrics.plugin_file_gone.reset();
    for plugin in status.plugins.iter().filter(|plugin| plugin.state == PluginState::FileGone) {
        metrics.plugin_file_gone.with_label_values(&[plugin.name.as_str()]).set(1);
    }
    let mut workers: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for worker in &status.workers {
        *workers.entry((&worker.worker_type, worker.state.as_str())).or_default() += 1;
    }
    metrics.worker_state.reset();
    for ((worker_type, state), count) in workers {
        metrics.worker_state.with_label_values(&[worker_type, state]).set(count);
    }
}
