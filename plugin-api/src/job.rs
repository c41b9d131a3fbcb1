//! Job, as a handler gets it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::abi::ScopeObject;
use crate::codec::{DecodeError, Payload};
use crate::ids::{Address, JobId, WorkerId, WorkerRef};
use crate::send::{RouteText, Sending};
use crate::{Context, Error, Route, SendError};

/// A job for this worker. Cheap to clone.
#[derive(Clone)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The id of the first job of its pipeline; equal to `id` there.
    pub correlation: JobId,
    /// The sender.
    pub sender: WorkerRef,
    /// The sender of its pipeline's first job.
    pub origin: WorkerRef,
    /// The number of this attempt; the first is 1.
    pub attempt: u32,
    /// Whether it may have been delivered before: to a worker that died, was cut off, or returned it.
    pub redelivered: bool,
    route_text: RouteText,
    route: OnceLock<Route>,
    payload: Payload,
    ctx: Context,
}

impl Job {
    /// Makes the job and the context that belongs to it.
    pub(crate) fn new(scope: ScopeObject, instance: &Context) -> Result<Self, Error> {
        let payload = Payload::from_bytes(instance.codec(), scope.payload().into_bytes());
        let scope = Arc::new(scope);
        let ctx = instance.for_job(Arc::clone(&scope));
        let header = scope.header();
        let id = JobId::new(&header.id)?;
        let sender = WorkerRef::from(WorkerId::new(&header.sender)?);
        Ok(Self {
            correlation: if header.correlation == header.id { id.clone() } else { JobId::new(&header.correlation)? },
            id,
            origin: if header.origin == header.sender {
                sender.clone()
            } else {
                WorkerRef::from(WorkerId::new(&header.origin)?)
            },
            sender,
            attempt: header.attempt,
            redelivered: header.redelivered,
            route_text: RouteText {
                addresses: header.route.addresses.as_str().into(),
                position: header.route.position,
            },
            route: OnceLock::new(),
            payload,
            ctx,
        })
    }

    pub(crate) fn context(&self) -> &Context {
        &self.ctx
    }

    /// Reads the data.
    ///
    /// # Errors
    /// Where the data is not a `T`: no later attempt can change that, so with `?` the job is reported to its sender at once.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        self.payload.decode()
    }

    /// The data as it arrived.
    #[must_use]
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// The pipeline, and where in it this worker is.
    #[must_use]
    pub fn route(&self) -> &Route {
        self.route.get_or_init(|| {
            let RouteText { addresses, position } = &self.route_text;
            let parsed = addresses.lines().map(Address::new).collect::<Result<Arc<[_]>, _>>();
            let parsed = parsed.ok().and_then(|addresses| Route::new(addresses, *position).ok());
            // The host sends valid routes only; otherwise the worker itself is the one address known.
            parsed.unwrap_or_else(|| Route::only(Address::One(self.ctx.worker().id.clone())))
        })
    }

    /// Sends `data` to the next worker of the pipeline. The result is the new job's id.
    ///
    /// # Errors
    /// [`SendError`], when awaited; [`SendError::EndOfRoute`] at the pipeline's last worker.
    #[doc(alias = "sendToNextWorker")]
    pub fn forward<T: Serialize + ?Sized>(&self, data: &T) -> Sending {
        let RouteText { addresses, position } = &self.route_text;
        let next = RouteText { addresses: Arc::clone(addresses), position: position + 1 };
        let route = match addresses.lines().nth(next.position) {
            Some(_) => Ok(next),
            None => Err(SendError::EndOfRoute(self.route().target().clone())),
        };
        Sending::new(self.ctx.send_via(), self.ctx.codec(), route, data)
    }

    /// As [`Job::forward`], for a [`BlockingWorker`](crate::BlockingWorker).
    ///
    /// # Errors
    /// As [`Context::blocking_send`]; [`SendError::EndOfRoute`] at the pipeline's last worker.
    pub fn blocking_forward<T: Serialize + ?Sized>(&self, data: &T) -> Result<JobId, SendError> {
        self.forward(data).block()
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id)
            .field("correlation", &self.correlation)
            .field("sender", &self.sender.id)
            .field("origin", &self.origin.id)
            .field("attempt", &self.attempt)
            .field("redelivered", &self.redelivered)
            .field("route", self.route())
            .field("payload", &self.payload)
            .finish()
    }
}
