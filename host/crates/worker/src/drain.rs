//! A drain under way.

use std::pin::Pin;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use mshost_plugin_host::Instance;
use tokio::time::Sleep;

/// First the plugin finishes what it has begun by itself; once the worker leaves, too, the drain is over when the plugin
/// is done, and at the latest at the deadline.
pub(super) struct Drain {
    plugin: Option<LocalBoxFuture<'static, ()>>,
    deadline: Pin<Box<Sleep>>,
    pub(super) leaving: bool,
}

pub(super) enum DrainStep {
    PluginDone,
    TimedOut,
}

impl Drain {
    pub(super) fn begin(instance: &Instance, limit: Duration) -> Self {
        let deadline = Box::pin(tokio::time::sleep(limit));
        Self { plugin: Some(instance.drain().boxed_local()), deadline, leaving: false }
    }

    pub(super) fn leave(&mut self, limit: Duration) {
        self.leaving = true;
        self.deadline.as_mut().reset(tokio::time::Instant::now() + limit);
    }

    pub(super) fn is_over(&self) -> bool {
        self.leaving && self.plugin.is_none()
    }

    pub(super) fn waits(&self) -> bool {
        self.leaving || self.plugin.is_some()
    }

    /// Waits for the plugin or the deadline. A plugin that is not done in time is taken for done while its worker does not
    /// leave yet. Cancel safe.
    pub(super) async fn step(drain: &mut Option<Self>) -> DrainStep {
        let Some(drain) = drain else { return std::future::pending().await };
        let in_time = tokio::select! {
            () = async { match &mut drain.plugin { Some(plugin) => plugin.await, None => std::future::pending().await } } => true,
            () = &mut drain.deadline => false,
        };
        if !in_time && drain.leaving {
            return DrainStep::TimedOut;
        }
        drain.plugin = None;
        DrainStep::PluginDone
    }
}
