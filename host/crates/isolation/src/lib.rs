//! Workers in processes of their own, joined to the bus of their host by a socket: what crashes there does so alone.
//!
//! In the child a [`RemoteBus`] is the bus, so that the life of a worker is the same as on a thread of the host. In the host
//! [`serve`] does on the real bus what the child asks for, and gives back all that the child had in hand when it ends. Between
//! them is a `link` with messages both ways.

mod charge;
mod child;
mod link;
mod message;
mod process;
mod remote;
mod servant;
mod snapshot;

pub use child::{WORKER_OPTION, worker_main};
pub use process::{Version, spawn};
pub use remote::{Facts, RemoteBus};
pub use servant::{Rights, serve};
