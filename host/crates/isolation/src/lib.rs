//! Workers in processes of their own: a crash of one is confined to it.
//!
//! The host ([`parent`]) starts a process of its own binary for each such worker ([`child`]). Both are joined by a socket ([`ipc`]):
//! in the child a [`RemoteBus`] is the bus, so that a worker runs as on a thread of the host; in the host [`serve`] carries out
//! the child's requests on the real bus.
//!
//! Invariant: what a child has received and not settled is returned to the bus when it ends, however it ends.

mod child;
mod ipc;
mod parent;

pub use child::worker_main;
pub use ipc::client::{BusParameters, RemoteBus};
pub use ipc::server::{BusPermissions, serve};
pub use ipc::spawn_request::WORKER_OPTION;
pub use parent::{PluginVersion, spawn};
