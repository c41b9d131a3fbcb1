//! What an mshost worker plugin is written against.

mod codec;
mod error;
mod ids;
mod route;
mod worker;

pub use codec::{Codec, DecodeError, EncodeError, Payload, UnknownCodec};
pub use error::{Error, JobError, Retry, SendError};
pub use ids::{Address, JobId, MAX_NAME_BYTES, NameError, WorkerId, WorkerRef, WorkerType};
pub use route::{MAX_ROUTE_LEN, Route, RouteError};
pub use worker::{BlockingWorker, Worker};

/// (under construction)
#[derive(Debug)]
pub struct Context;

/// (under construction)
#[derive(Debug)]
pub struct Job;
