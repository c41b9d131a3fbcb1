//! A started worker, as the host's tasks on a lane use it.

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

use super::blocking::BlockingPool;
use super::generation::Loaded;
use super::lane::Lane;
use super::panics::{Owned, Place, Watched, inside};
use super::services::{InstanceServices, JobScope, SharedServices};
use super::{HostServices, JobHeader, Snapshot};

/// Why a call into a plugin failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HandlerError {
    /// For a person.
    pub message: String,
    /// Whether another attempt can help.
    pub retry: Retry,
    /// The plugin's code panicked; its state may be broken.
    pub panicked: bool,
}

/// A started worker. Lives on its lane; its futures do too, and may outlive it.
pub struct Instance {
    kind: Rc<Kind>,
    state: Option<u32>,
    services: Arc<InstanceServices>,
}

// Field order is drop order: the plugin's object goes before the library's owner.
enum Kind {
    Async(Owned<AsyncInstanceObject>, #[allow(dead_code, reason = "keeps the library open")] Arc<Loaded>),
    Blocking(BlockingPool, #[allow(dead_code, reason = "keeps the library open")] Arc<Loaded>),
}

impl Lane {
    /// Starts a worker of the plugin. A blocking one gets up to `concurrency` threads of its own.
    ///
    /// # Errors
    /// What its `start` said, or that there is no such worker.
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
        let services = InstanceServices::new(services, self.0.link.clone());
        let lent = ServicesObject::from_value(SharedServices(Arc::clone(&services)), TD_Opaque);
        let config = config.to_string();
        let kind = match kind {
            WorkerKind::Async => {
                let starting = Watched::new(Place::Start, &services, || {
                    loaded.plugin().start(RStr::from(&**worker_type), RStr::from(config.as_str()), lent)
                });
                let instance = result(starting.await)?;
                Kind::Async(Owned::new(instance), Arc::clone(&loaded))
            }
            WorkerKind::Blocking => {
                let instance = self.start_blocking(worker_type.clone(), config, lent).await?;
                let pool = BlockingPool::new(instance, &services, self, usize::from(concurrency));
                Kind::Blocking(pool, Arc::clone(&loaded))
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
            let (instance, _) = inside(Place::Start, || {
                result(plugin.start_blocking(RStr::from(&*worker_type), RStr::from(config.as_str()), services))
            });
            // Where nobody waits any more the instance is dropped here, on a thread of the generation.
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
    /// Does one job. Dropping the future cancels it: an async handler is dropped where it is, a blocking one is abandoned
    /// with its thread.
    pub fn handle(
        &self,
        header: Arc<JobHeader>,
        payload: Payload,
    ) -> impl Future<Output = Result<(), HandlerError>> + 'static + use<> {
        let kind = Rc::clone(&self.kind);
        let scope = JobScope::new(Arc::clone(&self.services), header, payload);
        let running = match &*kind {
            Kind::Async(instance, _) => Running::Async(Watched::new(Place::Handle, &self.services, || {
                instance.handle(ScopeObject::from_value(scope, TD_Opaque))
            })),
            Kind::Blocking(pool, _) => Running::Blocking(Box::pin(pool.call(move |instance| {
                inside(Place::Handle, || result(instance.handle(ScopeObject::from_value(scope, TD_Opaque)))).0
            }))),
        };
        Call { running, _kind: kind }.finish()
    }

    /// Tells the worker of a job that failed.
    pub fn on_error(&self, failure: Failure) -> impl Future<Output = ()> + 'static + use<> {
        let (kind, services) = (Rc::clone(&self.kind), Arc::clone(&self.services));
        async move {
            match &*kind {
                Kind::Async(instance, _) => {
                    let future = Watched::new(Place::OnError, &services, || {
                        with_failure(&failure, |failure| instance.on_error(failure))
                    });
                    let _: AbiUnit = future.await;
                }
                Kind::Blocking(pool, _) => {
                    let call = pool.call(move |instance| {
                        let told = || with_failure(&failure, |failure| instance.on_error(failure));
                        if let ((), Some(message)) = inside(Place::OnError, told) {
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
                Kind::Async(instance, _) => {
                    let _: AbiUnit = Watched::new(Place::Drain, &services, || instance.drain()).await;
                }
                Kind::Blocking(pool, _) => pool.instance().begin_drain(),
            }
        }
    }

    /// What the worker knows, for the version that is to take over, in at most `limit` bytes. No handler should be left.
    ///
    /// # Errors
    /// What the plugin said, or that it is too large, or that this worker keeps no state.
    pub fn snapshot(&self, limit: u64) -> impl Future<Output = Result<Snapshot, HandlerError>> + 'static + use<> {
        let (kind, schema) = (Rc::clone(&self.kind), self.state);
        async move {
            let schema = schema.ok_or_else(stateless)?;
            let bytes = match &*kind {
                // The plugin's bytes are copied and dropped on a thread of the generation.
                Kind::Async(instance, _) => result(instance.snapshot(limit).await)?.as_ref().to_vec(),
                Kind::Blocking(pool, _) => {
                    let call = pool
                        .call(move |instance| result(instance.snapshot(limit)).map(|bytes| bytes.as_ref().to_vec()));
                    call.await.unwrap_or_else(|| Err(no_thread()))?
                }
            };
            Snapshot { schema, bytes }.within(limit)
        }
    }

    /// Has the worker go on with what another version knew. To be called once, before its first job.
    ///
    /// # Errors
    /// What the plugin said, or that this worker keeps no state.
    pub fn restore(&self, from: Snapshot) -> impl Future<Output = Result<(), HandlerError>> + 'static + use<> {
        let (kind, keeps) = (Rc::clone(&self.kind), self.state.is_some());
        async move {
            if !keeps {
                return Err(stateless());
            }
            let Snapshot { schema, bytes } = from;
            let bytes = AbiBytes::new(bytes.into());
            match &*kind {
                Kind::Async(instance, _) => result(instance.restore(schema, bytes).await)?,
                Kind::Blocking(pool, _) => {
                    let call = pool.call(move |instance| result(instance.restore(schema, bytes)));
                    call.await.unwrap_or_else(|| Err(no_thread()))?
                }
            };
            Ok(())
        }
    }

    /// Lets the worker say its last words, and drops it. No handler should be left.
    pub async fn stop(self) {
        match &*self.kind {
            Kind::Async(instance, _) => {
                let _: AbiUnit = Watched::new(Place::Stop, &self.services, || instance.stop()).await;
            }
            Kind::Blocking(pool, _) => {
                let _: Option<()> = pool.call(|instance| inside(Place::Stop, || instance.stop()).0).await;
            }
        }
    }
}

/// What the plugin does with a job.
enum Running {
    Async(Watched<LocalFfiFuture<RResult<AbiUnit, AbiError>>>),
    Blocking(LocalBoxFuture<'static, Option<Result<AbiUnit, HandlerError>>>),
}

/// A job in the plugin's hands, and its instance. Field order is drop order: the plugin's future goes first, be it that it
/// was never polled.
struct Call<K> {
    running: Running,
    _kind: K,
}

impl<K> Call<K> {
    async fn finish(mut self) -> Result<(), HandlerError> {
        match &mut self.running {
            Running::Async(future) => result(future.await).map(|_| ()),
            Running::Blocking(future) => future.await.unwrap_or_else(|| Err(no_thread())).map(|_| ()),
        }
    }
}

/// Copies what the plugin answers; its own error is dropped here, on a thread of the generation.
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

    struct Noted(&'static str, Rc<RefCell<Vec<&'static str>>>);

    impl Drop for Noted {
        fn drop(&mut self) {
            self.1.borrow_mut().push(self.0);
        }
    }

    #[test]
    fn a_call_that_was_never_polled_goes_before_its_instance() {
        let order = Rc::default();
        let (job, kind) = (Noted("job", Rc::clone(&order)), Noted("instance", Rc::clone(&order)));
        let running = Running::Blocking(Box::pin(async move {
            let _job = job;
            None
        }));
        drop(Call { running, _kind: kind }.finish());
        assert_eq!(*order.borrow(), ["job", "instance"]);
    }
}
