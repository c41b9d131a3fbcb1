//! Worker traits: a plugin author implements one of the two.

use std::future::Future;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Context, Error, Job, JobError};

/// A worker whose handlers are `async`. They run one at a time per poll on the worker's own thread and overlap
/// wherever they await, up to the topology's `concurrency`; never block in them (see [`BlockingWorker`]).
pub trait Worker: Sized + 'static {
    /// `[worker.config]` of the topology. Its JSON Schema is exported and checked before the worker starts.
    type Config: DeserializeOwned + JsonSchema;

    /// Starts the worker. It gets jobs once this has returned; an error leaves what ran before in place.
    fn start(config: Self::Config, ctx: &Context) -> impl Future<Output = Result<Self, Error>>;

    /// Handles one job. `Ok` acks it; an `Err` has it retried or reported to its sender. A panic counts as an `Err`, and the
    /// host then replaces the worker by a fresh one.
    #[doc(alias = "doJob")]
    fn handle(&self, job: Job, ctx: &Context) -> impl Future<Output = Result<(), Error>>;

    /// Called when a job that this worker sent has failed for good.
    #[doc(alias = "treatError")]
    fn on_error(&self, error: JobError, ctx: &Context) -> impl Future<Output = ()> {
        let _ = ctx;
        async move { tracing::warn!(job = %error.id, "job failed: {}", error.error) }
    }

    /// Finishes what the worker itself has started: it is to be replaced or stopped, and no new job for its type comes. What
    /// is sent to its id still comes until this returns, so that it can wait for answers. The host waits for at most
    /// `drain_timeout`.
    fn drain(&self, ctx: &Context) -> impl Future<Output = ()> {
        let _ = ctx;
        async {}
    }

    /// Called last: every job has been settled, and none will come.
    fn stop(self, ctx: &Context) -> impl Future<Output = ()> {
        let _ = ctx;
        async {}
    }
}

/// A worker whose handlers block: databases, files, computation. Each runs on one of `concurrency` threads of its own.
pub trait BlockingWorker: Sized + Send + Sync + 'static {
    /// `[worker.config]` of the topology. Its JSON Schema is exported and checked before the worker starts.
    type Config: DeserializeOwned + JsonSchema;

    /// Starts the worker. It gets jobs once this has returned; an error leaves what ran before in place.
    ///
    /// # Errors
    /// Where the worker cannot start.
    fn start(config: Self::Config, ctx: &Context) -> Result<Self, Error>;

    /// Handles one job. `Ok` acks it; an `Err` has it retried or reported to its sender. A panic counts as an `Err`, and the
    /// host then replaces the worker by a fresh one.
    ///
    /// # Errors
    /// Where the job failed.
    #[doc(alias = "doJob")]
    fn handle(&self, job: Job, ctx: &Context) -> Result<(), Error>;

    /// Called when a job that this worker sent has failed for good.
    #[doc(alias = "treatError")]
    fn on_error(&self, error: JobError, ctx: &Context) {
        let _ = ctx;
        tracing::warn!(job = %error.id, "job failed: {}", error.error);
    }

    /// Called last: every job has been settled, and none will come.
    fn stop(self, ctx: &Context) {
        let _ = ctx;
    }
}

/// The configuration of a worker that has none.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}
