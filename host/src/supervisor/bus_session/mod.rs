//! Bus sessions: a [`BusSession`](session::BusSession) is one bus with its manager and registry, and with the workers of this
//! host that are on it.
//!
//! A host has one session. There are two or more only while `[bus]` changes: then workers
//! [migrate](super::bus_migration) from one to the other, and the sessions are [linked](linked_bus). [`BusSessions`](sessions::BusSessions)
//! knows the current one and those that are being left.

pub(super) mod linked_bus;
mod manager_tasks;
pub(super) mod open_bus;
pub(super) mod session;
pub(super) mod sessions;
