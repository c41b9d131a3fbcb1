//! Jobs that the bus itself gives up: told to those who wait for them, counted, and kept as dead letters.

use std::sync::Arc;

use mshost_bus::{DeadLetter, Death, DeathReason, EXPIRED, SendError};
use mshost_core::ids::Address;
use mshost_core::metrics::Metrics;

use super::dead::DeadLetters;
use super::journal::{Change, Journal};
use super::kept::Kept;
use super::notifier::Notifier;

/// See the module.
pub(super) struct Undertaker {
    pub(super) notifier: Arc<Notifier>,
    pub(super) dead: DeadLetters,
    pub(super) journal: Option<Arc<Journal>>,
    pub(super) metrics: Option<Arc<Metrics>>,
    /// How often a job may be delivered and not settled, for the text.
    pub(super) deliveries: u32,
}

impl Undertaker {
    /// Gives a job up. It was accepted, so it must not vanish in silence.
    pub(super) fn bury(&self, job: &Kept, reason: DeathReason) {
        let death = Death::now(reason, &self.text(job, reason), None);
        tracing::debug!(target: "mshost::bus", job = %job.id, target = %job.route.target(), "{}", death.error);
        self.notifier.report(job, &death.error);
        self.count(job, reason);
        let letter = DeadLetter { id: job.id.to_string(), job: Some((**job).clone()), raw: None, death };
        if let Err(error) = self.dead.keep(letter, job.record()) {
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
    pub(super) fn withdraw(&self, job: &Kept) {
        if let (Some(journal), Some(record)) = (&self.journal, job.record()) {
            journal.note(Change::Remove(record));
        }
    }

    fn count(&self, job: &Kept, reason: DeathReason) {
        let Some(metrics) = &self.metrics else { return };
        let kind: &str = match job.route.target() {
            Address::Any(kind) => kind,
            Address::One(id) => id.split_once(':').map_or(&**id, |(kind, _)| kind),
        };
        metrics.dead_letters.with_label_values(&[kind, reason.name()]).inc();
    }

    fn text(&self, job: &Kept, reason: DeathReason) -> String {
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
