//! What operators do with dead letters.

use async_trait::async_trait;
use mshost_bus::{BusError, DeadLetter, DeadLetterStore, Job, Requeued, SendError};

use crate::embedded_core::EmbeddedCore;
use crate::journal::Commit;
use crate::send;
use crate::stored_job::StoredJob;

#[async_trait]
impl DeadLetterStore for EmbeddedCore {
    async fn list(&self, limit: usize) -> Result<Vec<DeadLetter>, BusError> {
        Ok(self.dead_lettering.letters.list(limit))
    }

    async fn count(&self) -> Option<u64> {
        Some(self.dead_lettering.letters.count())
    }

    async fn keep(&self, letter: DeadLetter) -> Result<(), BusError> {
        if self.is_closed() {
            return Err(BusError::Closed);
        }
        let DeadLetter { id, job, raw, death } = letter;
        let (stored, _undecided) = match (job, &self.journal) {
            (Some(job), Some(journal)) => {
                let (record, undecided) = journal.insert(&job).await.map_err(refused)?;
                (Some(StoredJob::new(job, Some(record))), Some(undecided))
            }
            (job, _) => (job.map(|job| StoredJob::new(job, None)), None),
        };
        let letter = DeadLetter { id, job: stored.as_ref().map(|stored| (**stored).clone()), raw, death };
        let record = stored.as_ref().and_then(StoredJob::record);
        self.dead_lettering.letters.keep(letter, record).inspect_err(|_| {
            if let Some(stored) = &stored {
                self.dead_lettering.withdraw(stored);
            }
        })
    }

    async fn requeue(&self, ids: &[String]) -> Result<Requeued, BusError> {
        let letters = &self.dead_lettering.letters;
        let (mut requeued, mut last) = (Requeued::default(), Commit::default());
        let _one_at_a_time = self.requeuing.lock().await;
        for id in ids {
            let Some((serial, DeadLetter { job: Some(job), .. })) = letters.get(id) else {
                requeued.unknown.push(id.clone());
                continue;
            };
            match send::send(self, Job { attempt: 1, deadline: None, ..job }).await {
                Ok(()) => {
                    last = letters.remove(serial);
                    requeued.sent.push(id.clone());
                }
                Err(error) => requeued.refused.push((id.clone(), error)),
            }
        }
        // Changes keep their order, so the last stands for all.
        last.await;
        Ok(requeued)
    }

    async fn purge(&self) -> Result<u64, BusError> {
        let (count, commit) = self.dead_lettering.letters.purge();
        commit.await;
        Ok(count)
    }
}

fn refused(error: SendError) -> BusError {
    match error {
        SendError::Unavailable(reason) => BusError::Unavailable(reason),
        error => BusError::Refused { what: "keeping a dead letter".to_owned(), reason: error.to_string() },
    }
}
