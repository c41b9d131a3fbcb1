//! Restoring what a journal held.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mshost_bus::{Absent, DeadLetter, Death, DeathReason, Job};
use mshost_core::ids::{Address, WorkerType};

use super::embedded_core::EmbeddedCore;
use super::job_queue::QueuedJob;
use super::journal::{Restored, RestoredJob, UnreadableJob};
use super::stored_job::StoredJob;

/// Queues the jobs for types, where they wait for workers. Those for the workers of the host that is gone are dead letters:
/// ids are never used again.
pub(super) fn restore(core: &Arc<EmbeddedCore>, restored: Restored) {
    let (jobs, letters) = (restored.jobs.len(), restored.dead.len());
    let of_letters: Vec<_> = restored.dead.iter().filter_map(|(_, letter)| kind(letter.job.as_ref()?)).collect();
    core.dead_lettering.letters.restore(restored.dead);
    // They were accepted once: their types have had workers, for which a requeued job may wait.
    if core.rules.absent == Absent::Wait {
        of_letters.iter().for_each(|kind| core.group_or_new(kind).mark_known());
    }
    let mut waiting = 0;
    for job in restored.jobs {
        waiting += usize::from(restore_job(core, job));
    }
    if jobs + letters > 0 {
        tracing::info!(
            target: "mshost::bus",
            "the journal held {waiting} jobs that wait for workers, {} whose workers are gone, and {letters} dead letters",
            jobs - waiting
        );
    }
}

/// Tells whether the job waits for a worker.
fn restore_job(core: &Arc<EmbeddedCore>, restored: RestoredJob) -> bool {
    let RestoredJob { record, job, due, deliveries } = restored;
    let job = match job {
        Ok(job) => job,
        Err(UnreadableJob { raw, reason }) => {
            let death = Death::now(DeathReason::Malformed, &reason, None);
            let letter = DeadLetter { id: format!("journal-{record}"), job: None, raw: Some(raw), death };
            if let Err(error) = core.dead_lettering.letters.keep(letter, Some(record)) {
                tracing::error!(target: "mshost::bus", "record {record} of the journal is not a job, and stays there: {error}");
            }
            return false;
        }
    };
    let Some(kind) = kind(&job) else {
        core.dead_lettering.dead_letter(&StoredJob::new(job, Some(record)), DeathReason::NoWorker);
        return false;
    };
    let group = core.group_or_new(&kind);
    let wait = due.and_then(|due| due.duration_since(SystemTime::now()).ok()).unwrap_or(Duration::ZERO);
    let queued = QueuedJob { job: Arc::new(StoredJob::new(job, Some(record))), redelivered: true, deliveries };
    if let Some(delayed) = group.restore(queued, !wait.is_zero()) {
        core.retry_timer.wait(group, delayed, wait);
    }
    true
}

/// The type that a job is for, where any worker of it will do.
fn kind(job: &Job) -> Option<WorkerType> {
    match job.route.target() {
        Address::Any(kind) => Some(kind.clone()),
        Address::One(_) => None,
    }
}
