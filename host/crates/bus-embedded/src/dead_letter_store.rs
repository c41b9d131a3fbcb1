//! The dead-letter store of the embedded bus.

use async_trait::async_trait;
use mshost_bus::{BusError, DeadLetter, DeadLetterStore, Job, Requeued, SendError};

use super::Core;
use super::journal::Written;
use super::kept::Kept;
use super::send;

#[async_trait]
impl DeadLetterStore for Core {
    async fn list(&self, limit: usize) -> Result<Vec<DeadLetter>, BusError> {
        Ok(self.undertaker.dead.list(limit))
    }

    async fn count(&self) -> Option<u64> {
        Some(self.undertaker.dead.count())
    }

    async fn keep(&self, letter: DeadLetter) -> Result<(), BusError> {
        if self.is_closed() {
            return Err(BusError::Closed);
        }
        let DeadLetter { id, job, raw, death } = letter;
        let (kept, _undecided) = match (job, &self.journal) {
            (Some(job), Some(journal)) => {
                let (kept, undecided) = journal.keep(job).await.map_err(refused)?;
                (Some(kept), Some(undecided))
            }
            (job, _) => (job.map(|job| Kept::new(job, None)), None),
        };
        let letter = DeadLetter { id, job: kept.as_ref().map(|kept| (**kept).clone()), raw, death };
        let record = kept.as_ref().and_then(Kept::record);
        self.undertaker.dead.keep(letter, record).inspect_err(|_| {
            if let Some(kept) = &kept {
                self.undertaker.withdraw(kept);
            }
        })
    }

    async fn requeue(&self, ids: &[String]) -> Result<Requeued, BusError> {
        let dead = &self.undertaker.dead;
        let (mut requeued, mut written) = (Requeued::default(), Written::default());
        let _one_at_a_time = self.requeuing.lock().await;
        for id in ids {
            let Some((serial, DeadLetter { job: Some(job), .. })) = dead.get(id) else {
                requeued.unknown.push(id.clone());
                continue;
            };
            match send::send(self, Job { attempt: 1, deadline: None, ..job }).await {
                Ok(()) => {
                    written = dead.remove(serial);
                    requeued.sent.push(id.clone());
                }
                Err(error) => requeued.refused.push((id.clone(), error)),
            }
        }
        // Changes keep their order, so the last stands for all.
        written.await;
        Ok(requeued)
    }

    async fn purge(&self) -> Result<u64, BusError> {
        let (count, written) = self.undertaker.dead.purge();
        written.await;
        Ok(count)
    }
}

fn refused(error: SendError) -> BusError {
    match error {
        SendError::Unavailable(reason) => BusError::Unavailable(reason),
        error => BusError::Refused { what: "keeping a dead letter".to_owned(), reason: error.to_string() },
    }
}
