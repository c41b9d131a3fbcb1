//! The plugin's side of the ABI: what turns an author's worker into the objects that the host calls.
//!
//! Every entry is fenced, runs inside of the plugin's runtime, and gives back nothing but values of [`crate::abi`].

mod async_worker;
mod blocking_worker;
mod plugin;

use serde::de::DeserializeOwned;

use crate::abi::{
    AbiError, AbiFailure, AsyncInstanceObject, BlockingInstanceObject, LocalFfiFuture, RResult, error_kind,
};
use crate::codec::Payload;
use crate::ids::{JobId, WorkerId, WorkerRef};
use crate::{Context, Error, JobError, Retry};

pub(crate) use async_worker::start_async;
pub(crate) use blocking_worker::start_blocking;
pub use plugin::init;

type AsyncStarted = RResult<AsyncInstanceObject, AbiError>;
type BlockingStarted = RResult<BlockingInstanceObject, AbiError>;

/// How a worker is started, from its configuration as JSON.
pub(crate) enum Start {
    Async(fn(String, Context) -> LocalFfiFuture<AsyncStarted>),
    Blocking(fn(&str, Context) -> BlockingStarted),
}

/// Ends the tasks of an instance when it, or its failed start, is dropped.
struct Tasks(Context);

impl Drop for Tasks {
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
