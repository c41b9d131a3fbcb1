//! Sending a job: at once where there is room, else after waiting for it.

use std::sync::Arc;

use mshost_bus::{Job, SendError};
use mshost_core::ids::Address;
use mshost_plugin_api::EncodeError;

use super::embedded_core::EmbeddedCore;
use super::group_state::closed;
use super::queue_group::QueueGroup;
use super::stored_job::StoredJob;

/// See [`mshost_bus::Bus::try_send`].
pub(super) fn try_send(core: &EmbeddedCore, job: Job) -> Result<Result<(), SendError>, Box<Job>> {
    if core.journal.is_some() {
        return Err(Box::new(job));
    }
    let group = match admit(core, &job) {
        Ok(group) => group,
        Err(error) => return Ok(Err(error)),
    };
    group.offer(Arc::new(StoredJob::new(job, None))).map_err(|job| Box::new(Arc::unwrap_or_clone(job).into_job()))
}

/// See [`mshost_bus::Bus::send`].
pub(super) async fn send(core: &EmbeddedCore, job: Job) -> Result<(), SendError> {
    let mut group = admit(core, &job)?;
    let target = job.route.target().clone();
    let (stored, undecided) = match &core.journal {
        None => (StoredJob::new(job, None), None),
        Some(journal) => {
            // Nothing is written for a job that would be refused at once.
            group.refusal(&target).map_or(Ok(()), Err)?;
            let (record, undecided) = journal.insert(&job).await?;
            let stored = StoredJob::new(job, Some(record));
            // The last worker of the type may have left meanwhile, and another come.
            group = group_of(core, &target).inspect_err(|_| core.dead_lettering.withdraw(&stored))?;
            (stored, Some(undecided))
        }
    };
    let offered = group.offer_or_wait(Arc::new(stored));
    // A group that closes refuses the senders that wait before the journal closes.
    drop(undecided);
    let waiting = match offered {
        Ok(result) => return result,
        Err(waiting) => waiting,
    };
    let guard = WaitGuard { group: &group, target: &target, serial: waiting.serial };
    let mut answer = waiting.answer;
    match tokio::time::timeout(core.limits.send_timeout, &mut answer).await {
        Ok(answer) => answer.unwrap_or_else(|_| Err(closed())),
        Err(_) if guard.give_up() => Err(group.full(&target, core.limits.send_timeout)),
        // It was decided on in this very moment.
        Err(_) => answer.await.unwrap_or_else(|_| Err(closed())),
    }
}

/// Checks what can be checked without the group's lock; returns the group.
fn admit(core: &EmbeddedCore, job: &Job) -> Result<Arc<QueueGroup>, SendError> {
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
    group_of(core, job.route.target())
}

fn group_of(core: &EmbeddedCore, target: &Address) -> Result<Arc<QueueGroup>, SendError> {
    let kind: &str = match target {
        Address::Any(kind) => kind,
        Address::One(id) => id.split_once(':').map_or(&**id, |(kind, _)| kind),
    };
    core.group(kind).ok_or_else(|| SendError::NoWorker(target.clone()))
}

/// A send that waits for room, which is given up when it is dropped.
struct WaitGuard<'a> {
    group: &'a QueueGroup,
    target: &'a Address,
    serial: u64,
}

impl WaitGuard<'_> {
    /// `false` where the job has been decided on.
    fn give_up(&self) -> bool {
        self.group.give_up(self.target, self.serial)
    }
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        self.give_up();
    }
}
