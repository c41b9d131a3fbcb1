//! A started worker of a plugin, as the task that runs it calls it.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use mshost_bus::Failure;
use mshost_plugin_api::Payload;
use mshost_plugin_host::{HandlerError, Instance, JobHeader, StateSnapshot};

/// The calls into a plugin's worker once it has started: [`Instance`], or in tests a worker without a library.
pub(super) trait PluginInstance {
    /// Does one job. Dropping the future cancels it.
    fn handle(
        &self,
        header: Arc<JobHeader>,
        payload: Payload,
    ) -> impl Future<Output = Result<(), HandlerError>> + 'static + use<Self>;

    /// Tells the worker that a job which it sent has failed.
    fn on_error(&self, failure: Failure) -> LocalBoxFuture<'static, ()>;

    /// Tells the worker that it gets no more jobs of its type; ends when it has finished what it has begun by itself.
    fn drain(&self) -> LocalBoxFuture<'static, ()>;

    /// The worker's state, in at most `limit` bytes.
    fn snapshot(&self, limit: u64) -> LocalBoxFuture<'static, Result<StateSnapshot, HandlerError>>;

    /// Lets the worker clean up, and drops it.
    fn stop(self) -> impl Future<Output = ()>;
}

impl PluginInstance for Instance {
    fn handle(
        &self,
        header: Arc<JobHeader>,
        payload: Payload,
    ) -> impl Future<Output = Result<(), HandlerError>> + 'static + use<> {
        Self::handle(self, header, payload)
    }

    fn on_error(&self, failure: Failure) -> LocalBoxFuture<'static, ()> {
        Self::on_error(self, failure).boxed_local()
    }

    fn drain(&self) -> LocalBoxFuture<'static, ()> {
        Self::drain(self).boxed_local()
    }

    fn snapshot(&self, limit: u64) -> LocalBoxFuture<'static, Result<StateSnapshot, HandlerError>> {
        Self::snapshot(self, limit).boxed_local()
    }

    fn stop(self) -> impl Future<Output = ()> {
        Self::stop(self)
    }
}
