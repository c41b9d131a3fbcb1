//! Sending a job: at once where there is room, else in line.

use std::sync::Arc;

use mshost_bus::{Job, SendError};
use mshost_core::ids::Address;
use mshost_plugin_api::EncodeError;

use super::Core;
use super::kept::Kept;
use super::pool::Pool;
use super::state::closed;

/// See [`mshost_bus::Bus::try_send`].
pub(super) fn try_send(core: &Core, job: Job) -> Result<Result<(), SendError>, Box<Job>> {
    if core.journal.is_some() {
        return Err(Box::new(job));
    }
    let pool = match admit(core, &job) {
        Ok(pool) => pool,
        Err(error) => return Ok(Err(error)),
    };
    pool.offer(Arc::new(Kept::new(job, None))).map_err(|job| Box::new(Arc::unwrap_or_clone(job).into_job()))
}

/// See [`mshost_bus::Bus::send`].
pub(super) async fn send(core: &Core, job: Job) -> Result<(), SendError> {
    let mut pool = admit(core, &job)?;
    let target = job.route.target().clone();
    let (kept, undecided) = match &core.journal {
        None => (Kept::new(job, None), None),
        Some(journal) => {
            // Nothing is written for a job that would be refused at once.
            pool.refusal(&target).map_or(Ok(()), Err)?;
            let (kept, undecided) = journal.keep(job).await?;
            // The last worker of the type may have left meanwhile, and another come.
            pool = pool_of(core, &target).inspect_err(|_| core.undertaker.withdraw(&kept))?;
            (kept, Some(undecided))
        }
    };
    let offered = pool.offer_or_wait(Arc::new(kept));
    // A pool that closes refuses those who wait in line before the journal closes.
    drop(undecided);
    let waiting = match offered {
        Ok(result) => return result,
        Err(waiting) => waiting,
    };
    let place = Place { pool: &pool, target: &target, serial: waiting.serial };
    let mut answer = waiting.answer;
    match tokio::time::timeout(core.limits.send_timeout, &mut answer).await {
        Ok(answer) => answer.unwrap_or_else(|_| Err(closed())),
        Err(_) if place.give_up() => Err(pool.full(&target, core.limits.send_timeout)),
        // It was decided on in this very moment.
        Err(_) => answer.await.unwrap_or_else(|_| Err(closed())),
    }
}

/// What can be said of a job without its pool's lock; gives the pool.
fn admit(core: &Core, job: &Job) -> Result<Arc<Pool>, SendError> {
    if core.is_closed() {
        return Err(closed());
    }
    if job.payload.codec() != core.codec {
        let reason = format!("the data is written in {}, but the bus speaks {}", job.payload.codec(), core.codec);
        return Err(EncodeError { codec: core.codec, reason }.into());
    }
    let (size, limit) = (job.payload.bytes().len(), core.limits.message_bytes);
    if size > limit {
        return Err(SendError::TooLarge { size, limit });
    }
    pool_of(core, job.route.target())
}

fn pool_of(core: &Core, target: &Address) -> Result<Arc<Pool>, SendError> {
    let kind: &str = match target {
        Address::Any(kind) => kind,
        Address::One(id) => id.split_once(':').map_or(&**id, |(kind, _)| kind),
    };
    core.pool(kind).ok_or_else(|| SendError::NoWorker(target.clone()))
}

/// A place in the line, given up when the sender is dropped.
struct Place<'a> {
    pool: &'a Pool,
    target: &'a Address,
    serial: u64,
}

impl Place<'_> {
    /// `false` where the job has been decided on.
    fn give_up(&self) -> bool {
        self.pool.give_up(self.target, self.serial)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.give_up();
    }
}
