//! Instance of a worker: a started worker, as the host's tasks on a lane use it.

mod handler_error;
mod instance_services;
mod plugin_future;
mod state_snapshot;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use futures::future::LocalBoxFuture;
use mshost_bus::Failure;
use mshost_plugin_api::abi::{
    AbiBytes, AbiError, AbiFailure, AbiUnit, AsyncInstanceObject, LocalFfiFuture, ROption, RResult, RStr, ScopeObject,
    ServicesObject, TD_Opaque, error_kind,
};
use mshost_plugin_api::{Payload, Retry, WorkerKind, WorkerType};

pub use self::handler_error::HandlerError;
use self::instance_services::{InstanceServices, JobScope, SharedServices};
use self::plugin_future::PluginFuture;
pub use self::state_snapshot::StateSnapshot;
use crate::executor::{BlockingPool, Lane};
use crate::host_services::{HostServices, JobHeader};
use crate::loader::LoadedPlugin;
use crate::panic_site::{PanicSite, PluginOwned, call_plugin};

/// A started worker. It stays on its lane, as do its futures, which may outlive it.
pub struct Instance {
    kind: Rc<InstanceKind>,
    state: Option<u32>,
    services: Arc<InstanceServices>,
}

// Field order is drop order: the plugin's object goes before the library's owner.
enum InstanceKind {
    Async(PluginOwned<AsyncInstanceObject>, #[allow(dead_code, reason = "keeps the library open")] Arc<LoadedPlugin>),
    Blocking(BlockingPool, #[allow(dead_code, reason = "keeps the library open")] Arc<LoadedPlugin>),
}

impl Lane {
    /// Starts a worker of the plugin. A blocking one gets up to `concurrency` threads of its own.
    ///
    /// # Errors
    /// The error of its `start`, or that the plugin has no such worker.
    pub async fn start(
        &self,
        worker_type: &WorkerType,
        config: &serde_json::Value,
        concurrency: u16,
        services: Arc<dyn HostServices>,
    ) -> Result<Instance, HandlerError> {
        let loaded = Arc::clone(&self.0.loaded);
        let worker = loaded.manifest().workers.iter().find(|worker| worker.worker_type == **worker_type);
        let (kind, state) = worker.map(|worker| (worker.kind, worker.state)).ok_or_else(|| HandlerError {
            message: format!("plugin {} has no worker {worker_type}", loaded.manifest().name),
            retry: Retry::Never,
            panicked: false,
        })?;
        let host_services = Arc::clone(&services);
        let services = InstanceServices::new(services, self.0.link.clone());
        let lent = ServicesObject::from_value(SharedServices(Arc::clone(&services)), TD_Opaque);
        let config = config.to_string();
        let kind = match kind {
            WorkerKind::Async => {
                let starting = PluginFuture::new(PanicSite::Start, &services, || {
                    loaded.plugin().start(RStr::from(&**worker_type), RStr::from(config.as_str()), lent)
                });
                let instance = result(starting.await)?;
                InstanceKind::Async(PluginOwned::new(instance), Arc::clone(&loaded))
            }
            WorkerKind::Blocking => {
                let instance = self.start_blocking(worker_type.clone(), config, lent).await?;
                let pool = BlockingPool::new(instance, host_services, self, usize::from(concurrency));
                InstanceKind::Blocking(pool, Arc::clone(&loaded))
            }
        };
        Ok(Instance { kind: Rc::new(kind), state, services })
    }

    async fn start_blocking(
        &self,
        worker_type: WorkerType,
        config: String,
        services: ServicesObject,
    ) -> Result<mshost_plugin_api::abi::BlockingInstanceObject, HandlerError> {
        let (done, started) = tokio::sync::oneshot::channel();
        let loaded = Arc::clone(&self.0.loaded);
        let body = move || {
            let plugin = loaded.plugin();
            let (instance, _) = call_plugin(PanicSite::Start, || {
                result(plugin.start_blocking(RStr::from(&*worker_type), RStr::from(config.as_str()), services))
            });
            // Where the caller has gone the instance is dropped here, on a thread of the generation.
            let _ = done.send(instance);
        };
        let failed = |message| HandlerError { message, retry: Retry::Later, panicked: false };
        self.0
            .threads
            .spawn(format!("{}-s", self.0.name), body)
            .map_err(|error| failed(format!("no thread to start it on: {error}")))?;
        started.await.unwrap_or_else(|_| Err(failed("its thread ended without a result".to_owned())))
    }
}

impl Instance {
    /// Handles one job. Dropping the future cancels it: an async handler is dropped in place, a blocking one is abandoned
    /// with its thread.
    pub fn handle(
        &self,
        header: Arc<JobHeader>,
        payload: Payload,
    ) -> impl Future<Output = Result<(), HandlerError>> + 'static + use<> {
        let kind = Rc::clone(&self.kind);
        let scope = JobScope::new(Arc::clone(&self.services), header, payload);
        let running = match &*kind {
            InstanceKind::Async(instance, _) => {
                HandlerRun::Async(PluginFuture::new(PanicSite::Handle, &self.services, || {
                    instance.handle(ScopeObject::from_value(scope, TD_Opaque))
                }))
            }
            InstanceKind::Blocking(pool, _) => HandlerRun::Blocking(Box::pin(pool.call(move |instance| {
                call_plugin(PanicSite::Handle, || result(instance.handle(ScopeObject::from_value(scope, TD_Opaque)))).0
            }))),
        };
        HandlerCall { running, _kind: kind }.finish()
    }

    /// Calls the worker's `on_error` for a job that failed.
    pub fn on_error(&self, failure: Failure) -> impl Future<Output = ()> + 'static + use<> {
        let (kind, services) = (Rc::clone(&self.kind), Arc::clone(&self.services));
        async move {
            match &*kind {
                InstanceKind::Async(instance, _) => {
                    let future = PluginFuture::new(PanicSite::OnError, &services, || {
                        with_failure(&failure, |failure| instance.on_error(failure))
                    });
                    let _: AbiUnit = future.await;
                }
                InstanceKind::Blocking(pool, _) => {
                    let call = pool.call(move |instance| {
                        let told = || with_failure(&failure, |failure| instance.on_error(failure));
                        if let ((), Some(message)) = call_plugin(PanicSite::OnError, told) {
                            services.panicked(&message);
                        }
                    });
                    let _: Option<()> = call.await;
                }
            }
        }
    }

    /// Tells the worker that it gets no more jobs of its type, which resolves its `ctx.shutdown()`; the future ends when the
    /// worker has finished what it has begun by itself. Jobs may be handled meanwhile.
    pub fn drain(&self) -> impl Future<Output = ()> + 'static + use<> {
        let (kind, services) = (Rc::clone(&self.kind), Arc::clone(&self.services));
        async move {
            match &*kind {
                InstanceKind::Async(instance, _) => {
                    let _: AbiUnit = PluginFuture::new(PanicSite::Drain, &services, || instance.drain()).await;
                }
                InstanceKind::Blocking(pool, _) => pool.instance().begin_drain(),
            }
        }
    }

    /// Takes the worker's state for the version that is to take over, in at most `limit` bytes. No handler should be left.
    ///
    /// # Errors
    /// The plugin's error, or that the state is too large, or that this worker keeps none.
    pub fn snapshot(&self, limit: u64) -> impl Future<Output = Result<StateSnapshot, HandlerError>> + 'static + use<> {
        let (kind, schema) = (Rc::clone(&self.kind), self.state);
        async move {
            let schema = schema.ok_or_else(stateless)?;
            let bytes = match &*kind {
                // The plugin's bytes are copied and dropped on a thread of the generation.
                InstanceKind::Async(instance, _) => result(instance.snapshot(limit).await)?.as_ref().to_vec(),
                InstanceKind::Blocking(pool, _) => {
                    let call = pool
                        .call(move |instance| result(instance.snapshot(limit)).map(|bytes| bytes.as_ref().to_vec()));
                    call.await.unwrap_or_else(|| Err(no_thread()))?
                }
            };
            StateSnapshot { schema, bytes }.within(limit)
        }
    }

    /// Gives the worker the state of another version. To be called once, before its first job.
    ///
    /// # Errors
    /// The plugin's error, or that this worker keeps no state.
    pub fn restore(&self, from: StateSnapshot) -> impl Future<Output = Result<(), HandlerError>> + 'static + use<> {
        let (kind, keeps) = (Rc::clone(&self.kind), self.state.is_some());
        async move {
            if !keeps {
                return Err(stateless());
            }
            let StateSnapshot { schema, bytes } = from;
            let bytes = AbiBytes::new(bytes.into());
            match &*kind {
                InstanceKind::Async(instance, _) => result(instance.restore(schema, bytes).await)?,
                InstanceKind::Blocking(pool, _) => {
                    let call = pool.call(move |instance| result(instance.restore(schema, bytes)));
                    call.await.unwrap_or_else(|| Err(no_thread()))?
                }
            };
            Ok(())
        }
    }

    /// Calls the worker's `stop` and drops it. No handler should be left.
    pub async fn stop(self) {
        match &*self.kind {
            InstanceKind::Async(instance, _) => {
                let _: AbiUnit = PluginFuture::new(PanicSite::Stop, &self.services, || instance.stop()).await;
            }
            InstanceKind::Blocking(pool, _) => {
                let _: Option<()> = pool.call(|instance| call_plugin(PanicSite::Stop, || instance.stop()).0).await;
            }
        }
    }
}

/// A running handler of either kind of worker.
enum HandlerRun {
    Async(PluginFuture<LocalFfiFuture<RResult<AbiUnit, AbiError>>>),
    Blocking(LocalBoxFuture<'static, Option<Result<AbiUnit, HandlerError>>>),
}

/// A running handler and its instance. Field order is drop order: the plugin's future is dropped first, even one that was
/// never polled.
struct HandlerCall<K> {
    running: HandlerRun,
    _kind: K,
}

impl<K> HandlerCall<K> {
    async fn finish(mut self) -> Result<(), HandlerError> {
        match &mut self.running {
            HandlerRun::Async(future) => result(future.await).map(|_| ()),
            HandlerRun::Blocking(future) => future.await.unwrap_or_else(|| Err(no_thread())).map(|_| ()),
        }
    }
}

/// Copies the plugin's answer; its own error is dropped here, on a thread of the generation.
fn result<T>(answer: RResult<T, AbiError>) -> Result<T, HandlerError> {
    answer.into_result().map_err(|error| HandlerError {
        message: error.message.as_str().to_owned(),
        retry: if error.kind == error_kind::NEVER { Retry::Never } else { Retry::Later },
        panicked: error.kind == error_kind::PANICKED,
    })
}

fn no_thread() -> HandlerError {
    HandlerError { message: "no thread for a blocking handler".to_owned(), retry: Retry::Later, panicked: false }
}

fn stateless() -> HandlerError {
    HandlerError { message: "the worker keeps no state".to_owned(), retry: Retry::Never, panicked: false }
}

fn with_failure<T>(failure: &Failure, call: impl FnOnce(AbiFailure<'_>) -> T) -> T {
    call(AbiFailure {
        error: failure.error.as_str().into(),
        id: (&*failure.id).into(),
        correlation: (&*failure.correlation).into(),
        reporter: failure.reporter.as_ref().map(|reporter| RStr::from(&*reporter.id)).into(),
        payload: match &failure.payload {
            Some(payload) => ROption::RSome(AbiBytes::new(payload.bytes().clone())),
            None => ROption::RNone,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    struct RecordsDrop(&'static str, Rc<RefCell<Vec<&'static str>>>);

    impl Drop for RecordsDrop {
        fn drop(&mut self) {
            self.1.borrow_mut().push(self.0);
        }
    }

    #[test]
    fn a_call_that_was_never_polled_goes_before_its_instance() {
        let order = Rc::default();
        let (job, kind) = (RecordsDrop("job", Rc::clone(&order)), RecordsDrop("instance", Rc::clone(&order)));
        let running = HandlerRun::Blocking(Box::pin(async move {
            let _job = job;
            None
        }));
        drop(HandlerCall { running, _kind: kind }.finish());
        assert_eq!(*order.borrow(), ["job", "instance"]);
    }
}
