//! Dead letters that come from another bus.

use mshost_bus::{BusError, DeadLetter, SendError};

use super::Core;
use super::kept::Kept;

/// See [`mshost_bus::Bus::keep_dead`].
pub(super) async fn keep_dead(core: &Core, letter: DeadLetter) -> Result<(), BusError> {
    if core.is_closed() {
        return Err(BusError::Closed);
    }
    let DeadLetter { id, job, raw, death } = letter;
    let (kept, _undecided) = match (job, &core.journal) {
        (Some(job), Some(journal)) => {
            let (kept, undecided) = journal.keep(job).await.map_err(refused)?;
            (Some(kept), Some(undecided))
        }
        (job, _) => (job.map(|job| Kept::new(job, None)), None),
    };
    let letter = DeadLetter { id, job: kept.as_ref().map(|kept| (**kept).clone()), raw, death };
    let record = kept.as_ref().and_then(Kept::record);
    core.undertaker.dead.keep(letter, record).inspect_err(|_| {
        if let Some(kept) = &kept {
            core.undertaker.withdraw(kept);
        }
    })
}

fn refused(error: SendError) -> BusError {
    match error {
        SendError::Unavailable(reason) => BusError::Unavailable(reason),
        error => BusError::Refused { what: "keeping a dead letter".to_owned(), reason: error.to_string() },
    }
}
