//! Bus migration: the workers of a running host move to another bus when `[bus]` changes, and no accepted job is lost.
//!
//! # The steps
//! 1. The [`BusReconciler`](bus_reconciler::BusReconciler) opens the new bus. Until that can be used everything stays where it is.
//! 2. Where the old bus has a journal, it is noted in [`pending_migrations`], so that the next host finds what is left in it if
//!    this one is stopped half-way.
//! 3. The new [session](super::bus_session) becomes the current one, and both are [linked](super::bus_session::linked_bus): a job
//!    that its own bus has no worker for goes to the other.
//! 4. The reconcile loop swaps each slot to the new session like for any other change: a successor starts there, and the worker on
//!    the old bus goes on until all slots have moved. Until then the topology may change back.
//! 5. [`session_drain`] empties the old session: workers that bring work in finish what they have begun, jobs that wait are
//!    done for a while, then all workers leave. What is left on an embedded bus goes to the new one, jobs and dead letters
//!    ([`JobMigrator`](job_migrator::JobMigrator)); a broker keeps what is left for other hosts.
//! 6. The old bus is closed, and the link and the note are removed.
//!
//! # What it costs while there is none
//! One atomic load for each job that is sent: see [`linked_bus`](super::bus_session::linked_bus). Nothing else of this folder
//! runs then; receiving and settling never pass through a link.

pub(super) mod bus_reconciler;
#[cfg(test)]
mod bus_reconciler_tests;
mod job_migrator;
#[cfg(test)]
mod job_migrator_tests;
mod pending_migrations;
mod session_drain;
