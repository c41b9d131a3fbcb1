//! The plugin's side of the ABI: adapters from an author's worker to the objects that the host calls.
//!
//! Every entry catches panics, runs inside the plugin's runtime, and returns nothing but values of [`crate::abi`].

mod async_worker;
mod blocking_worker;
mod plugin;

use serde::de::DeserializeOwned;

use crate::abi::{
    AbiError, AbiFailure, AbiUnit, AsyncInstanceObject, BlockingInstanceObject, LocalFfiFuture, RResult, error_kind,
};
use crate::codec::Payload;
use crate::ids::{JobId, WorkerId, WorkerRef};
use crate::{Context, Error, JobError, Retry};

pub(crate) use async_worker::{start_async, start_async_stateful};
pub(crate) use blocking_worker::{start_blocking, start_blocking_stateful};
pub use plugin::init;

type AsyncStarted = RResult<AsyncInstanceObject, AbiError>;
type BlockingStarted = RResult<BlockingInstanceObject, AbiError>;

/// The function that starts a worker, from its configuration as JSON.
pub(crate) enum StartFn {
    Async(fn(String, Context) -> LocalFfiFuture<AsyncStarted>),
    Blocking(fn(&str, Context) -> BlockingStarted),
}

/// Guard that aborts the tasks of an instance when it, or its failed start, is dropped.
struct AbortTasksOnDrop(Context);

impl Drop for AbortTasksOnDrop {
    fn drop(&mut self) {
        self.0.abort_tasks();
    }
}

fn read_config<C: DeserializeOwned>(config: &str) -> Result<C, Error> {
    serde_json::from_str(config).map_err(|error| Error::permanent(format!("`worker.config` does not fit: {error}")))
}

fn abi_error(error: &Error) -> AbiError {
    let kind = match error.retry() {
        Retry::Later => error_kind::LATER,
        Retry::Never => error_kind::NEVER,
    };
    AbiError { message: error.message().into(), kind }
}

/// Logs the panic of an entry point that has no result.
fn log_panic(entry: &str, panic: &str) -> AbiUnit {
    tracing::error!("the worker's `{entry}` {panic}");
    AbiUnit::default()
}

fn panicked(message: String) -> AbiError {
    AbiError { message: message.into(), kind: error_kind::PANICKED }
}

/// Copies a report of the host, which lends it for the time of the call only.
fn job_error(failure: AbiFailure<'_>, ctx: &Context) -> Result<JobError, Error> {
    let reporter = failure.reporter.into_option().map(|id| WorkerId::new(&id)).transpose()?;
    Ok(JobError {
        error: failure.error.as_str().to_owned(),
        id: JobId::new(&failure.id)?,
        correlation: JobId::new(&failure.correlation)?,
        reporter: reporter.map(WorkerRef::from),
        payload: failure.payload.into_option().map(|bytes| Payload::from_bytes(ctx.codec(), bytes.into_bytes())),
    })
}
