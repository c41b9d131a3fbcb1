//! The locks of [`super::call_queue`]. Its loom model (`tests/models.rs`) replaces them.

pub(crate) use std::sync::Arc;

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};

/// Waits until the condition variable is notified.
pub(crate) fn wait<'a, T>(condvar: &Condvar, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(&mut guard);
    guard
}
