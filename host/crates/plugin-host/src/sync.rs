//! What [`super::line`] waits and locks with. A model of it (`tests/models.rs`) has its own.

pub(super) use std::sync::Arc;

pub(super) use parking_lot::{Condvar, Mutex, MutexGuard};

/// Waits to be notified.
pub(super) fn wait<'a, T>(condvar: &Condvar, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(&mut guard);
    guard
}
