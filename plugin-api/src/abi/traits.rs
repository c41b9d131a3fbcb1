//! Trait objects of the ABI (`abi_stable`). See [`super`] for how they may grow.
#![allow(missing_docs, non_local_definitions)] // what `sabi_trait` generates; the traits themselves are documented

use abi_stable::sabi_trait;
use abi_stable::std_types::{RBox, RResult, RStr, RString};
use async_ffi::LocalFfiFuture;

use super::types::{AbiBytes, AbiError, AbiFailure, AbiHeader, AbiRecord, AbiSend, AbiSent, AbiUnit, error_kind};

/// The host, as a plugin sees it. May be called on any thread of the plugin.
#[sabi_trait]
pub trait Host: Send + Sync + 'static {
    /// The most detailed level that is logged: 0 none, 1 error … 5 trace.
    fn max_level(&self) -> u8;

    /// Takes one event of the log.
    #[sabi(last_prefix_field)]
    fn log(&self, record: AbiRecord<'_>);
}

/// The host's services for one instance. May be called on any thread of the plugin.
#[sabi_trait]
pub trait Services: Send + Sync + 'static {
    /// The bus's codec: 0 JSON, 1 BSON, 2 MessagePack.
    fn codec(&self) -> u8;
    /// The worker's id; its type is the part before the `:`.
    fn worker_id(&self) -> RString;
    /// Sends a job that belongs to no other.
    fn send(&self, send: AbiSend<'_>) -> AbiSent;
    /// A new duplicate of a listening socket, which the caller owns.
    fn listener(&self, name: RStr<'_>) -> RResult<i32, RString>;
    /// Adds a measurement, in nanoseconds, to the histogram of job times.
    fn observe(&self, job_type: RStr<'_>, nanos: u64);
    /// Sets a gauge.
    #[sabi(last_prefix_field)]
    fn set_value(&self, name: RStr<'_>, value: f64);
}

/// One job that a worker handles. May be called on any thread of the plugin.
#[sabi_trait]
pub trait Scope: Send + Sync + 'static {
    /// The job without its data, borrowed from the host.
    fn header(&self) -> AbiHeader<'_>;
    /// The data, in the bus's codec.
    fn payload(&self) -> AbiBytes;
    /// Sends a job that inherits correlation and origin from this one.
    #[sabi(last_prefix_field)]
    fn send(&self, send: AbiSend<'_>) -> AbiSent;
}

/// An initialised plugin. Called on threads of its generation only; dropped there too.
#[sabi_trait]
pub trait Plugin: Send + Sync + 'static {
    /// Starts an instance of an async worker. `config` is JSON.
    fn start(
        &self,
        worker_type: RStr<'_>,
        config: RStr<'_>,
        services: ServicesObject,
    ) -> LocalFfiFuture<RResult<AsyncInstanceObject, AbiError>>;

    /// Starts an instance of a blocking worker. Blocks.
    fn start_blocking(
        &self,
        worker_type: RStr<'_>,
        config: RStr<'_>,
        services: ServicesObject,
    ) -> RResult<BlockingInstanceObject, AbiError>;

    /// Ends the plugin's own threads. Blocks, for `limit_ms` at most. `true` where all have ended.
    #[sabi(last_prefix_field)]
    fn shutdown(&self, limit_ms: u64) -> bool;
}

/// An instance of an async worker. Lives on one thread; so do its futures.
#[sabi_trait]
pub trait AsyncInstance: 'static {
    /// Handles one job. Dropping the future cancels it.
    fn handle(&self, scope: ScopeObject) -> LocalFfiFuture<RResult<AbiUnit, AbiError>>;
    /// Called when a job that this worker sent has failed.
    fn on_error(&self, failure: AbiFailure<'_>) -> LocalFfiFuture<AbiUnit>;
    /// Resolves [`crate::Context::shutdown`]; its future ends when the worker has finished what it has begun. Jobs may
    /// still be handled while it is polled.
    fn drain(&self) -> LocalFfiFuture<AbiUnit>;
    /// Called last. To be called once, when no other future of the instance is left.
    #[sabi(last_prefix_field)]
    fn stop(&self) -> LocalFfiFuture<AbiUnit>;

    /// The state for the version that is to take over, in MessagePack, at most `limit` bytes. To be called while no job
    /// is in hand, and only where the manifest says `state`.
    fn snapshot(&self, limit: u64) -> LocalFfiFuture<RResult<AbiBytes, AbiError>> {
        let _ = limit;
        LocalFfiFuture::new(async { RResult::RErr(stateless()) })
    }

    /// Takes over the state of another version, with that one's schema. To be called once, before the first job, and only
    /// where the manifest says `state`.
    fn restore(&self, schema: u32, state: AbiBytes) -> LocalFfiFuture<RResult<AbiUnit, AbiError>> {
        let _ = (schema, state);
        LocalFfiFuture::new(async { RResult::RErr(stateless()) })
    }
}

/// An instance of a blocking worker. Used and dropped on any thread of the generation.
#[sabi_trait]
pub trait BlockingInstance: Send + Sync + 'static {
    /// Handles one job. Blocks.
    fn handle(&self, scope: ScopeObject) -> RResult<AbiUnit, AbiError>;
    /// Called when a job that this worker sent has failed. Blocks.
    fn on_error(&self, failure: AbiFailure<'_>);
    /// Resolves [`crate::Context::shutdown`].
    fn begin_drain(&self);
    /// Called last. Blocks. To be called once, when no other call is left.
    #[sabi(last_prefix_field)]
    fn stop(&self);

    /// As [`AsyncInstance::snapshot`]. Blocks.
    fn snapshot(&self, limit: u64) -> RResult<AbiBytes, AbiError> {
        let _ = limit;
        RResult::RErr(stateless())
    }

    /// As [`AsyncInstance::restore`]. Blocks.
    fn restore(&self, schema: u32, state: AbiBytes) -> RResult<AbiUnit, AbiError> {
        let _ = (schema, state);
        RResult::RErr(stateless())
    }
}

/// The error of a worker without state.
pub(crate) fn stateless() -> AbiError {
    AbiError { message: RString::from("the worker keeps no state"), kind: error_kind::NEVER }
}

/// A [`Host`], of the host or of a plugin.
pub type HostObject = Host_TO<RBox<()>>;
/// A [`Services`], of the host or of a plugin.
pub type ServicesObject = Services_TO<RBox<()>>;
/// A [`Scope`], of the host or of a plugin.
pub type ScopeObject = Scope_TO<RBox<()>>;
/// A [`Plugin`], of the host or of a plugin.
pub type PluginObject = Plugin_TO<RBox<()>>;
/// An [`AsyncInstance`], of the host or of a plugin.
pub type AsyncInstanceObject = AsyncInstance_TO<RBox<()>>;
/// A [`BlockingInstance`], of the host or of a plugin.
pub type BlockingInstanceObject = BlockingInstance_TO<RBox<()>>;
