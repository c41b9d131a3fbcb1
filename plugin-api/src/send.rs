//! Sending of a job to the bus.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use serde::Serialize;

use crate::abi::{
    AbiRoute, AbiSend, AbiSendError, AbiSent, FfiFuture, RResult, RString, ScopeObject, ServicesObject, send_error_kind,
};
use crate::codec::{Codec, EncodeError, Payload};
use crate::ids::{Address, JobId};
use crate::{Route, SendError};

/// The sender of a job: the instance, or the job in whose handling it is sent.
#[derive(Clone)]
pub(crate) enum SendVia {
    Instance(Arc<ServicesObject>),
    Job(Arc<ScopeObject>),
}

impl SendVia {
    fn send(&self, send: AbiSend<'_>) -> AbiSent {
        match self {
            Self::Instance(services) => services.send(send),
            Self::Job(scope) => scope.send(send),
        }
    }
}

/// A job that is sent once this future is polled. It ends when the bus answers for the job, or refused it; it waits
/// while the bus is at a limit or away. Dropped before its end, the job may or may not have been sent.
#[must_use = "a job is sent when this is awaited"]
pub struct Sending(SendState);

/// The state of a send.
enum SendState {
    New(Box<NewSend>),
    Waiting(FfiFuture<RResult<RString, AbiSendError>>),
    Refused(SendError),
    Over,
}

/// A job that is not sent yet.
struct NewSend {
    outlet: SendVia,
    route: RouteText,
    payload: Payload,
}

/// A route in the form of the ABI: one address a line.
#[derive(Clone)]
pub(crate) struct RouteText {
    pub(crate) addresses: Arc<str>,
    pub(crate) position: usize,
}

impl From<&Route> for RouteText {
    fn from(route: &Route) -> Self {
        let lines: Vec<_> = route.addresses().iter().map(Address::to_string).collect();
        Self { addresses: lines.join("\n").into(), position: route.position() }
    }
}

impl Sending {
    pub(crate) fn new<T: Serialize + ?Sized>(
        outlet: SendVia,
        codec: Codec,
        route: Result<RouteText, SendError>,
        data: &T,
    ) -> Self {
        let request = route.and_then(|route| {
            let payload = Payload::encode(codec, data)?;
            Ok(Box::new(NewSend { outlet, route, payload }))
        });
        Self(request.map_or_else(SendState::Refused, SendState::New))
    }

    /// Waits for the result, on a thread that may block.
    pub(crate) fn block(self) -> Result<JobId, SendError> {
        if crate::runtime::in_poll() {
            // It would block the thread that it waits for.
            return Err(SendError::Unavailable(
                "a blocking send was called in an async handler; use `send(…).await`".to_owned(),
            ));
        }
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => runtime.block_on(self),
            Err(_) => Err(SendError::Unavailable("a blocking send was called on a thread without runtime".to_owned())),
        }
    }
}

impl Future for Sending {
    type Output = Result<JobId, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match std::mem::replace(&mut self.0, SendState::Over) {
                SendState::New(request) => {
                    let route =
                        AbiRoute { addresses: (&*request.route.addresses).into(), position: request.route.position };
                    let payload = (&**request.payload.bytes()).into();
                    match request.outlet.send(AbiSend { route, payload }) {
                        AbiSent::Done(result) => return Poll::Ready(outcome(request.payload.codec(), result)),
                        AbiSent::Waiting(future) => self.0 = SendState::Waiting(future),
                    }
                }
                SendState::Waiting(mut future) => {
                    return match Pin::new(&mut future).poll(cx) {
                        Poll::Ready(result) => Poll::Ready(outcome(Codec::default(), result)),
                        Poll::Pending => {
                            self.0 = SendState::Waiting(future);
                            Poll::Pending
                        }
                    };
                }
                SendState::Refused(error) => return Poll::Ready(Err(error)),
                SendState::Over => return Poll::Pending,
            }
        }
    }
}

fn outcome(codec: Codec, result: RResult<RString, AbiSendError>) -> Result<JobId, SendError> {
    match result {
        RResult::ROk(id) => {
            JobId::new(&id).map_err(|error| SendError::Unavailable(format!("the host answered {id:?}: {error}")))
        }
        RResult::RErr(error) => Err(send_error(codec, error)),
    }
}

fn send_error(codec: Codec, error: AbiSendError) -> SendError {
    let text = error.text.into_string();
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    match (error.kind, Address::new(&text)) {
        (send_error_kind::NO_WORKER, Ok(address)) => SendError::NoWorker(address),
        (send_error_kind::END_OF_ROUTE, Ok(address)) => SendError::EndOfRoute(address),
        (send_error_kind::TOO_LARGE, _) => SendError::TooLarge { size: size(error.size), limit: size(error.limit) },
        (send_error_kind::ENCODE, _) => SendError::Encode(EncodeError { codec, reason: text }),
        _ => SendError::Unavailable(text),
    }
}
