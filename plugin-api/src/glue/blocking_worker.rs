//! Instance of an author's [`BlockingWorker`].

use std::sync::{Arc, PoisonError, RwLock};

use super::{AbortTasksOnDrop, BlockingStarted, abi_error, job_error, log_panic, panicked, read_config};
use crate::abi::{
    AbiBytes, AbiError, AbiFailure, AbiUnit, BlockingInstance, BlockingInstanceObject, RResult, ScopeObject, TD_Opaque,
    fenced, stateless,
};
use crate::state::encode;
use crate::{BlockingStateful, BlockingWorker, Context, Error, Job, Snapshot};

/// A started worker of the plugin.
struct BlockingWorkerInstance<W> {
    /// Handlers in flight share it; `None` once stopped.
    worker: RwLock<Option<Arc<W>>>,
    ctx: Context,
    state: Option<BlockingStateFns<W>>,
    _tasks: AbortTasksOnDrop,
}

/// The functions that take and restore the state of a [`BlockingStateful`] worker.
struct BlockingStateFns<W> {
    snapshot: fn(&W, &Context, u64) -> Result<AbiBytes, Error>,
    restore: fn(&W, &Context, Snapshot) -> Result<AbiUnit, Error>,
}

/// Starts a worker. The caller is inside the plugin's runtime and catches panics.
pub(crate) fn start_blocking<W: BlockingWorker>(config: &str, ctx: Context) -> BlockingStarted {
    start::<W>(config, ctx, None)
}

/// As [`start_blocking`], for a worker that hands its state over.
pub(crate) fn start_blocking_stateful<W: BlockingStateful>(config: &str, ctx: Context) -> BlockingStarted {
    let snapshot = |worker: &W, ctx: &Context, limit| Ok(AbiBytes::new(encode(&worker.snapshot(ctx)?, limit)?));
    let restore = |worker: &W, ctx: &Context, from: Snapshot| {
        worker.restore(from.into_state(W::SCHEMA, W::migrate)?, ctx)?;
        Ok(AbiUnit::default())
    };
    start(config, ctx, Some(BlockingStateFns { snapshot, restore }))
}

fn start<W: BlockingWorker>(config: &str, ctx: Context, state: Option<BlockingStateFns<W>>) -> BlockingStarted {
    let tasks = AbortTasksOnDrop(ctx.clone());
    match read_config::<W::Config>(config).and_then(|config| W::start(config, &ctx)) {
        Ok(worker) => {
            let worker = RwLock::new(Some(Arc::new(worker)));
            RResult::ROk(BlockingInstanceObject::from_value(
                BlockingWorkerInstance { worker, ctx, state, _tasks: tasks },
                TD_Opaque,
            ))
        }
        Err(error) => RResult::RErr(abi_error(&error)),
    }
}

impl<W: BlockingWorker> BlockingWorkerInstance<W> {
    fn worker(&self) -> Option<Arc<W>> {
        self.worker.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn handle_job(&self, scope: ScopeObject) -> Result<(), Error> {
        let worker = self.worker().ok_or_else(stopped)?;
        let job = Job::new(scope, &self.ctx)?;
        let ctx = job.context().clone();
        worker.handle(job, &ctx)
    }

    /// Calls one of the state functions, where the worker has them.
    fn call_state<T>(&self, call: impl FnOnce(&BlockingStateFns<W>, &W) -> Result<T, Error>) -> RResult<T, AbiError> {
        let _runtime = self.ctx.runtime().enter();
        let Some(state) = &self.state else { return RResult::RErr(stateless()) };
        let called = fenced(|| call(state, &*self.worker().ok_or_else(stopped)?));
        called.map_or_else(|message| Err(panicked(message)), |result| result.map_err(|error| abi_error(&error))).into()
    }

    fn quietly(&self, entry: &str, body: impl FnOnce()) {
        let _runtime = self.ctx.runtime().enter();
        if let Err(message) = fenced(body) {
            log_panic(entry, &message);
        }
    }
}

fn stopped() -> Error {
    Error::new("the worker has stopped")
}

impl<W: BlockingWorker> BlockingInstance for BlockingWorkerInstance<W> {
    fn handle(&self, scope: ScopeObject) -> RResult<AbiUnit, AbiError> {
        let _runtime = self.ctx.runtime().enter();
        match fenced(|| self.handle_job(scope)) {
            Ok(Ok(())) => RResult::ROk(AbiUnit::default()),
            Ok(Err(error)) => RResult::RErr(abi_error(&error)),
            Err(message) => RResult::RErr(panicked(message)),
        }
    }

    fn on_error(&self, failure: AbiFailure<'_>) {
        self.quietly("on_error", || match (self.worker(), job_error(failure, &self.ctx)) {
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
        self.quietly("stop", || match worker.map(Arc::try_unwrap) {
            Some(Ok(worker)) => worker.stop(&self.ctx),
            Some(Err(worker)) => {
                let left = Arc::strong_count(&worker) - 1;
                tracing::warn!("the worker's last words are skipped: {left} of its handlers have not ended");
            }
            None => {}
        });
    }

    fn snapshot(&self, limit: u64) -> RResult<AbiBytes, AbiError> {
        self.call_state(|state, worker| (state.snapshot)(worker, &self.ctx, limit))
    }

    fn restore(&self, schema: u32, state: AbiBytes) -> RResult<AbiUnit, AbiError> {
        let from = Snapshot::new(schema, state.into_bytes());
        self.call_state(|state, worker| (state.restore)(worker, &self.ctx, from))
    }
}

impl<W> Drop for BlockingWorkerInstance<W> {
    fn drop(&mut self) {
        let _runtime = self.ctx.runtime().enter();
        let worker = self.worker.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Err(message) = fenced(|| drop(worker)) {
            log_panic("drop", &message);
        }
    }
}
