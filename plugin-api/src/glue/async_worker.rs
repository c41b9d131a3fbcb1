//! Instance of an author's [`Worker`].

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use super::{AbortTasksOnDrop, AsyncStarted, abi_error, job_error, log_panic, panicked, read_config};
use crate::abi::{
    AbiBytes, AbiError, AbiFailure, AbiUnit, AsyncInstance, AsyncInstanceObject, Guarded, LocalFfiFuture, RResult,
    ScopeObject, TD_Opaque, fenced, stateless,
};
use crate::runtime::InPoll;
use crate::state::encode;
use crate::{Context, Error, Job, Snapshot, Stateful, Worker};

/// A started worker of the plugin.
struct AsyncWorkerInstance<W> {
    /// Handlers in flight share it; `None` once stopped.
    worker: RefCell<Option<Rc<W>>>,
    ctx: Context,
    state: Option<AsyncStateFns<W>>,
    _tasks: AbortTasksOnDrop,
}

type LocalFuture<T> = Pin<Box<dyn Future<Output = Result<T, Error>>>>;

/// The functions that take and restore the state of a [`Stateful`] worker.
struct AsyncStateFns<W> {
    snapshot: fn(Rc<W>, Context, u64) -> LocalFuture<AbiBytes>,
    restore: fn(Rc<W>, Context, Snapshot) -> LocalFuture<AbiUnit>,
}

/// Starts a worker.
pub(crate) fn start_async<W: Worker>(config: String, ctx: Context) -> LocalFfiFuture<AsyncStarted> {
    start::<W>(config, ctx, None)
}

/// Starts a worker that hands over its state.
pub(crate) fn start_async_stateful<W: Stateful>(config: String, ctx: Context) -> LocalFfiFuture<AsyncStarted> {
    let snapshot = |worker: Rc<W>, ctx: Context, limit| -> LocalFuture<AbiBytes> {
        Box::pin(async move {
            let state = worker.snapshot(&ctx).await?;
            Ok(AbiBytes::new(encode(&state, limit)?))
        })
    };
    let restore = |worker: Rc<W>, ctx: Context, from: Snapshot| -> LocalFuture<AbiUnit> {
        Box::pin(async move {
            let state = from.into_state(W::SCHEMA, W::migrate)?;
            worker.restore(state, &ctx).await?;
            Ok(AbiUnit::default())
        })
    };
    start(config, ctx, Some(AsyncStateFns { snapshot, restore }))
}

fn start<W: Worker>(config: String, ctx: Context, state: Option<AsyncStateFns<W>>) -> LocalFfiFuture<AsyncStarted> {
    fence(&ctx.clone(), async move {
        let tasks = AbortTasksOnDrop(ctx.clone());
        let config = read_config::<W::Config>(&config)?;
        let worker = W::start(config, &ctx).await?;
        let worker = RefCell::new(Some(Rc::new(worker)));
        Ok(AsyncInstanceObject::from_value(AsyncWorkerInstance { worker, ctx, state, _tasks: tasks }, TD_Opaque))
    })
}

/// Wraps a future of the author for the host to poll: it catches panics.
fn fence<T: 'static>(
    ctx: &Context,
    future: impl Future<Output = Result<T, Error>> + 'static,
) -> LocalFfiFuture<RResult<T, AbiError>> {
    LocalFfiFuture::new(Guarded::new(ctx.runtime().clone(), |message| RResult::RErr(panicked(message)), async move {
        future.await.map_err(|error| abi_error(&error)).into()
    }))
}

/// As [`fence`], for a future without a result: `report` logs a panic.
fn fence_quiet(
    ctx: &Context,
    report: fn(String) -> AbiUnit,
    future: impl Future<Output = ()> + 'static,
) -> LocalFfiFuture<AbiUnit> {
    LocalFfiFuture::new(Guarded::new(ctx.runtime().clone(), report, async move {
        future.await;
        AbiUnit::default()
    }))
}

impl<W: Worker> AsyncWorkerInstance<W> {
    /// Calls one of the state functions, where the worker has them.
    fn call_state<T: 'static>(
        &self,
        call: impl FnOnce(&AsyncStateFns<W>, Rc<W>, Context) -> LocalFuture<T>,
    ) -> LocalFfiFuture<RResult<T, AbiError>> {
        let called = match (&self.state, self.worker.borrow().clone()) {
            (Some(state), Some(worker)) => Ok(call(state, worker, self.ctx.clone())),
            (None, _) => Err(Error::permanent(stateless().message.into_string())),
            (_, None) => Err(stopped()),
        };
        fence(&self.ctx, async move { called?.await })
    }
}

fn stopped() -> Error {
    Error::new("the worker has stopped")
}

impl<W: Worker> AsyncInstance for AsyncWorkerInstance<W> {
    fn handle(&self, scope: ScopeObject) -> LocalFfiFuture<RResult<AbiUnit, AbiError>> {
        let worker = self.worker.borrow().clone();
        let ctx = self.ctx.clone();
        fence(&self.ctx, async move {
            let worker = worker.ok_or_else(stopped)?;
            let job = Job::new(scope, &ctx)?;
            let ctx = job.context().clone();
            worker.handle(job, &ctx).await?;
            Ok(AbiUnit::default())
        })
    }

    fn on_error(&self, failure: AbiFailure<'_>) -> LocalFfiFuture<AbiUnit> {
        let worker = self.worker.borrow().clone();
        let error = job_error(failure, &self.ctx);
        let ctx = self.ctx.clone();
        fence_quiet(&self.ctx, |panic| log_panic("on_error", &panic), async move {
            match (worker, error) {
                (Some(worker), Ok(error)) => worker.on_error(error, &ctx).await,
                (_, Err(error)) => tracing::warn!("the report of a failed job cannot be read: {error}"),
                (None, Ok(_)) => {}
            }
        })
    }

    fn drain(&self) -> LocalFfiFuture<AbiUnit> {
        self.ctx.begin_drain();
        let worker = self.worker.borrow().clone();
        let ctx = self.ctx.clone();
        fence_quiet(&self.ctx, |panic| log_panic("drain", &panic), async move {
            if let Some(worker) = worker {
                worker.drain(&ctx).await;
            }
        })
    }

    fn stop(&self) -> LocalFfiFuture<AbiUnit> {
        let worker = self.worker.borrow_mut().take();
        let ctx = self.ctx.clone();
        fence_quiet(&self.ctx, |panic| log_panic("stop", &panic), async move {
            match worker.map(Rc::try_unwrap) {
                Some(Ok(worker)) => worker.stop(&ctx).await,
                Some(Err(worker)) => {
                    let left = Rc::strong_count(&worker) - 1;
                    tracing::warn!("the worker's last words are skipped: {left} of its handlers have not ended");
                }
                None => {}
            }
        })
    }

    fn snapshot(&self, limit: u64) -> LocalFfiFuture<RResult<AbiBytes, AbiError>> {
        self.call_state(|state, worker, ctx| (state.snapshot)(worker, ctx, limit))
    }

    fn restore(&self, schema: u32, state: AbiBytes) -> LocalFfiFuture<RResult<AbiUnit, AbiError>> {
        let from = Snapshot::new(schema, state.into_bytes());
        self.call_state(|state, worker, ctx| (state.restore)(worker, ctx, from))
    }
}

impl<W> Drop for AsyncWorkerInstance<W> {
    fn drop(&mut self) {
        let _inside = InPoll::enter(self.ctx.runtime());
        if let Err(message) = fenced(|| drop(self.worker.take())) {
            log_panic("drop", &message);
        }
    }
}
