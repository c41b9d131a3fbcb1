//! The proof of "an accepted job is never lost and never fails in silence".
//!
//! A pipeline of the fixture plugin `history` (`HG` → `HA` → `HB` → `HC`) journals what it does: one `write(2)` a record, which
//! survives the SIGKILL of its host. [`PipelineHistory`] reads the journals and holds them against these rules:
//!
//! 1. **Nothing is lost.** Each job that the bus accepted, at each stage, by its own id, has done its work at least once, or
//!    its failure was heard by an `on_error`, or it is a dead letter. A job has done its work when its handler had the
//!    next job accepted, and in the last stage when it came to its end; to have begun is not enough. As each hop is
//!    judged by itself, a lost job cannot hide behind a duplicate of its pipeline.
//! 2. **Nothing fails in silence.** The same, for jobs that some handler did begin.
//! 3. **Nothing is invented.** The jobs that arrive are those that were accepted. One that arrives without a record of
//!    that is forgiven only while somebody may have died, or was told that the bus does not know, between the bus's acceptance
//!    and its record: at the first stage no more of them than the pipeline has sends without an answer, at the others no
//!    more than it has executions of the stage before that recorded no send.
//! 4. **What comes twice says so.** Of all executions of a job at most one is neither `redelivered` nor a later attempt.
//!    That one is nearly always the first; it is not where a delivery was still on its way to a worker that was cut off when
//!    its redelivery overtook it. Those are counted (`overtaken`), not condemned: no sender can prevent them.
//! 5. **Every send is answered** while its generator lives.
//!
//! A handler that is executed again sends again: its second send is a job of its own, with an id of its own. Such jobs are no
//! duplicates of a job and are not flagged; they are counted apart (`resent`).

pub mod broker_faults;
mod checker;
pub mod dead_letters;
mod diagnosis;
mod journals;
pub mod record;
pub mod scenario;
mod verdict;

#[cfg(test)]
mod tests;

pub use checker::{PipelineHistory, STAGES};
pub use diagnosis::diagnose;
pub use journals::Journals;
pub use verdict::{HistoryVerdict, Violation};
