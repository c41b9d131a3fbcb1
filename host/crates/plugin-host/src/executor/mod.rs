//! The threads on which a plugin's code runs.
//!
//! Async workers run on lanes ([`lane`]), blocking ones on the threads of a pool ([`blocking_pool`]) that serves a queue of calls
//! ([`call_queue`]). [`Threads`] counts both until the last one has ended.

mod blocking_pool;
mod call_queue;
mod call_queue_sync;
mod lane;
mod threads;

pub(crate) use blocking_pool::BlockingPool;
pub use lane::{Lane, LaneError, LaneTask};
pub(crate) use lane::{LaneCommand, LaneInner, LaneLink, run_lane};
pub(crate) use threads::Threads;
