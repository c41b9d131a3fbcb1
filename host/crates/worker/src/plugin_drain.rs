//! The plugin's part of a drain: it finishes what it has begun by itself, such as the open requests of an HTTP server.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use tokio::time::Sleep;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::plugin_instance::PluginInstance;

/// Whether the plugin has been asked to drain, which happens once: when the host closes, or when its worker is stopped.
/// `busy` tells the host that the plugin may still bring work in.
pub(super) enum PluginDrain {
    /// Not yet.
    NotAsked { busy: TaskTrackerToken },
    /// It drains; until `deadline`, where its worker goes on for now. The deadline of a worker that leaves is its phase's.
    Draining { plugin: LocalBoxFuture<'static, ()>, deadline: Option<Pin<Box<Sleep>>>, _busy: TaskTrackerToken },
    /// It has, or had its time.
    Done,
}

impl PluginDrain {
    /// Asks the plugin, unless it has been asked. `limit` is how long it may take; `None` leaves that to the caller, also
    /// where there was a limit before.
    pub(super) fn begin(&mut self, instance: &impl PluginInstance, limit: Option<Duration>) {
        *self = match std::mem::replace(self, Self::Done) {
            Self::NotAsked { busy } => {
                let deadline = limit.map(|limit| Box::pin(tokio::time::sleep(limit)));
                Self::Draining { plugin: instance.drain(), deadline, _busy: busy }
            }
            Self::Draining { plugin, deadline, _busy } => {
                Self::Draining { plugin, deadline: deadline.filter(|_| limit.is_some()), _busy }
            }
            Self::Done => Self::Done,
        };
    }

    /// Waits no longer for it.
    pub(super) fn abandon(&mut self) {
        *self = Self::Done;
    }

    /// Whether the plugin has been asked.
    pub(super) fn has_begun(&self) -> bool {
        !matches!(self, Self::NotAsked { .. })
    }

    /// Whether nothing that the plugin began by itself is left, or may go on.
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Waits until the plugin is done, or has had its time. Pending where it does not drain. Cancel safe.
    pub(super) async fn done(&mut self) {
        let Self::Draining { plugin, deadline, .. } = self else { return pending().await };
        let overdue = async {
            match deadline {
                Some(deadline) => deadline.as_mut().await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = plugin => {}
            () = overdue => {}
        }
        *self = Self::Done;
    }
}
