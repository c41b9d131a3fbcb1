//! An instance of an author's [`Worker`].

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;

use super::{AsyncStarted, Tasks, abi_error, job_error, panicked, read_config};
use crate::abi::{
    AbiError, AbiFailure, AbiUnit, AsyncInstance, AsyncInstanceObject, Guarded, LocalFfiFuture, RResult, ScopeObject,
    TD_Opaque, fenced,
};
use crate::runtime::InPoll;
use crate::{Context, Error, Job, Worker};

struct Instance<W> {
    /// Handlers in flight share it; `None` once stopped.
    worker: RefCell<Option<Rc<W>>>,
    ctx: Context,
    _tasks: Tasks,
}

/// Starts a worker.
pub(crate) fn start_async<W: Worker>(config: String, ctx: Context) -> LocalFfiFuture<AsyncStarted> {
    fence(&ctx.clone(), async move {
        let tasks = Tasks(ctx.clone());
        let config = read_config::<W::Config>(&config)?;
        let worker = W::start(config, &ctx).await?;
        let worker = RefCell::new(Some(Rc::new(worker)));
        Ok(AsyncInstanceObject::from_value(Instance { worker, ctx, _tasks: tasks }, TD_Opaque))
    })
}

/// Wraps what an author wrote for the host to poll.
fn fence<T: 'static>(
    ctx: &Context,
    future: impl Future<Output = Result<T, Error>> + 'static,
) -> LocalFfiFuture<RResult<T, AbiError>> {
    LocalFfiFuture::new(Guarded::new(ctx.runtime().clone(), |message| RResult::RErr(panicked(message)), async move {
        future.await.map_err(|error| abi_error(&error)).into()
    }))
}

/// As [`fence`], for what has nothing to answer: a panic is logged.
fn fence_quiet(ctx: &Context, future: impl Future<Output = ()> + 'static) -> LocalFfiFuture<AbiUnit> {
    let report = |message| {
        tracing::error!("{message}");
        AbiUnit::default()
    };
    LocalFfiFuture::new(Guarded::new(ctx.runtime().clone(), report, async move {
        future.await;
        AbiUnit::default()
    }))
}

impl<W: Worker> AsyncInstance for Instance<W> {
    fn handle(&self, scope: ScopeObject) -> LocalFfiFuture<RResult<AbiUnit, AbiError>> {
        let worker = self.worker.borrow().clone();
        let ctx = self.ctx.clone();
        fence(&self.ctx, async move {
            let worker = worker.ok_or_else(|| Error::new("the worker has stopped"))?;
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
        fence_quiet(&self.ctx, async move {
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
        fence_quiet(&self.ctx, async move {
            if let Some(worker) = worker {
                worker.drain(&ctx).await;
            }
        })
    }

    fn stop(&self) -> LocalFfiFuture<AbiUnit> {
        let worker = self.worker.borrow_mut().take();
        let ctx = self.ctx.clone();
        fence_quiet(&self.ctx, async move {
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
}

impl<W> Drop for Instance<W> {
    fn drop(&mut self) {
        let _inside = InPoll::enter(self.ctx.runtime());
        if let Err(message) = fenced(|| drop(self.worker.take())) {
            tracing::error!("dropping the worker: {message}");
        }
    }
}
