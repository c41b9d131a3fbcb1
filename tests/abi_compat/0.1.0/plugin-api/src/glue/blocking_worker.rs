//! An instance of an author's [`BlockingWorker`].

use std::sync::{Arc, PoisonError, RwLock};

use super::{BlockingStarted, Tasks, abi_error, job_error, panicked, read_config};
use crate::abi::{
    AbiError, AbiFailure, AbiUnit, BlockingInstance, BlockingInstanceObject, RResult, ScopeObject, TD_Opaque, fenced,
};
use crate::{BlockingWorker, Context, Error, Job};

struct Instance<W> {
    /// Handlers in flight share it; `None` once stopped.
    worker: RwLock<Option<Arc<W>>>,
    ctx: Context,
    _tasks: Tasks,
}

/// Starts a worker. The caller is inside of the plugin's runtime and fenced.
pub(crate) fn start_blocking<W: BlockingWorker>(config: &str, ctx: Context) -> BlockingStarted {
    let tasks = Tasks(ctx.clone());
    match read_config::<W::Config>(config).and_then(|config| W::start(config, &ctx)) {
        Ok(worker) => {
            let worker = RwLock::new(Some(Arc::new(worker)));
            RResult::ROk(BlockingInstanceObject::from_value(Instance { worker, ctx, _tasks: tasks }, TD_Opaque))
        }
        Err(error) => RResult::RErr(abi_error(&error)),
    }
}

impl<W: BlockingWorker> Instance<W> {
    fn worker(&self) -> Option<Arc<W>> {
        self.worker.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn handle_job(&self, scope: ScopeObject) -> Result<(), Error> {
        let worker = self.worker().ok_or_else(|| Error::new("the worker has stopped"))?;
        let job = Job::new(scope, &self.ctx)?;
        let ctx = job.context().clone();
        worker.handle(job, &ctx)
    }

    fn quietly(&self, body: impl FnOnce()) {
        let _runtime = self.ctx.runtime().enter();
        if let Err(message) = fenced(body) {
            tracing::error!("{message}");
        }
    }
}

impl<W: BlockingWorker> BlockingInstance for Instance<W> {
    fn handle(&self, scope: ScopeObject) -> RResult<AbiUnit, AbiError> {
        let _runtime = self.ctx.runtime().enter();
        match fenced(|| self.handle_job(scope)) {
            Ok(Ok(())) => RResult::ROk(AbiUnit::default()),
            Ok(Err(error)) => RResult::RErr(abi_error(&error)),
            Err(message) => RResult::RErr(panicked(message)),
        }
    }

    fn on_error(&self, failure: AbiFailure<'_>) {
        self.quietly(|| match (self.worker(), job_error(failure, &self.ctx)) {
            (Some(worker), Ok(error)) => worker.on_error(error, &self.ctx),
            (_, Err(error)) => tracing::warn!("the report of a failed job cannot be read: {error}"),
            (None, Ok(_)) => {}
        });
    }

    fn begin_drain(&self) {
        self.ctx.begin_drain();
    }

    fn stop(&self) {
        let worker = self.worker.write().unwrap_or_else(PoisonError::into_inner).take();
        self.quietly(|| match worker.map(Arc::try_unwrap) {
            Some(Ok(worker)) => worker.stop(&self.ctx),
            Some(Err(worker)) => {
                let left = Arc::strong_count(&worker) - 1;
                tracing::warn!("the worker's last words are skipped: {left} of its handlers have not ended");
            }
            None => {}
        });
    }
}

impl<W> Drop for Instance<W> {
    fn drop(&mut self) {
        let _runtime = self.ctx.runtime().enter();
        let worker = self.worker.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Err(message) = fenced(|| drop(worker)) {
            tracing::error!("dropping the worker: {message}");
        }
    }
}
