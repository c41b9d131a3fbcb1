//! Dead-lettering by the bus itself: it reports the job to those that wait for it, counts it, and keeps it as a dead letter.

use std::sync::Arc;

use mshost_bus::{DeadLetter, Death, DeathReason, EXPIRED, SendError};
use mshost_core::ids::Address;
use mshost_core::metrics::Metrics;

use super::list::DeadLetterList;
use crate::journal::{Journal, JournalChange};
use crate::notifier::Notifier;
use crate::stored_job::StoredJob;

/// Gives up jobs that no consumer settles: expired, without a worker, or delivered too often.
pub(crate) struct DeadLettering {
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) letters: DeadLetterList,
    pub(crate) journal: Option<Arc<Journal>>,
    pub(crate) metrics: Option<Arc<Metrics>>,
    /// How often a job may be delivered and not settled, for the text.
    pub(crate) deliveries: u32,
}

impl DeadLettering {
    /// Gives a job up. It was accepted, so it must not vanish in silence.
    pub(crate) fn dead_letter(&self, job: &StoredJob, reason: DeathReason) {
        let death = Death::now(reason, &self.text(job, reason), None);
        tracing::debug!(target: "mshost::bus", job = %job.id, target = %job.route.target(), "{}", death.error);
        self.notifier.report(job, &death.error);
        self.count(job, reason);
        let letter = DeadLetter { id: job.id.to_string(), job: Some((**job).clone()), raw: None, death };
        if let Err(error) = self.letters.keep(letter, job.record()) {
            // With a journal its record stays as it is: the host that reads it next has another try.
            let then = if job.record().is_some() {
                "it stays in the journal until the host starts again"
            } else {
                "it is gone"
            };
            tracing::error!(target: "mshost::bus", job = %job.id, "a job is given up and cannot be kept as a dead letter: {error}; {then}");
        }
    }

    /// Forgets a job that the bus does not answer for.
    pub(crate) fn withdraw(&self, job: &StoredJob) {
        if let (Some(journal), Some(record)) = (&self.journal, job.record()) {
            journal.append(JournalChange::Remove(record));
        }
    }

    fn count(&self, job: &StoredJob, reason: DeathReason) {
        let Some(metrics) = &self.metrics else { return };
        let kind: &str = match job.route.target() {
            Address::Any(kind) => kind,
            Address::One(id) => id.split_once(':').map_or(&**id, |(kind, _)| kind),
        };
        metrics.dead_letters.with_label_values(&[kind, reason.name()]).inc();
    }

    fn text(&self, job: &StoredJob, reason: DeathReason) -> String {
        match reason {
            DeathReason::Expired => EXPIRED.to_owned(),
            DeathReason::Crashed => format!(
                "Job crashed: it was delivered {} times (`bus.delivery_limit`) and never settled",
                self.deliveries
            ),
            DeathReason::NoWorker | DeathReason::Failed | DeathReason::Malformed => {
                SendError::NoWorker(job.route.target().clone()).to_string()
            }
        }
    }
}
