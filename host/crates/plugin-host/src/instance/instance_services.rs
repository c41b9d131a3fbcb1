//! The host's services across the ABI: one [`InstanceServices`] for each instance, one [`JobScope`] for each job.
//!
//! They are called on the plugin's threads. They copy what the plugin lends them, and catch every panic of the host.

use std::os::fd::IntoRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mshost_core::ids::JobId;
use mshost_plugin_api::abi::{
    AbiBytes, AbiHeader, AbiRoute, AbiSend, AbiSendError, AbiSent, FfiFuture, RResult, RStr, RString, Scope, Services,
    send_error_kind,
};
use mshost_plugin_api::{Address, Payload, Route, RouteError, SendError};

use crate::executor::LaneLink;
use crate::host_services::{HostServices, JobHeader, SendOutcome, SendRequest};
use crate::panic_site;

/// The host's services for one instance.
pub(crate) struct InstanceServices {
    services: Arc<dyn HostServices>,
    lane: LaneLink,
}

/// One job and the services that belong to it.
pub(crate) struct JobScope {
    instance: Arc<InstanceServices>,
    header: Arc<JobHeader>,
    payload: Payload,
    /// The pipeline in the form of the ABI: one address a line.
    addresses: String,
}

impl InstanceServices {
    pub(crate) fn new(services: Arc<dyn HostServices>, lane: LaneLink) -> Arc<Self> {
        Arc::new(Self { services, lane })
    }

    /// See [`HostServices::panicked`].
    pub(crate) fn panicked(&self, message: &str) {
        self.services.panicked(message);
    }

    fn send(&self, send: AbiSend<'_>, scope: Option<&JobScope>) -> AbiSent {
        let sent = catch_unwind(AssertUnwindSafe(|| self.try_send(send, scope)));
        sent.unwrap_or_else(|_| {
            done(Err(SendError::Unavailable("the host's own code panicked; see its log".to_owned())))
        })
    }

    fn try_send(&self, send: AbiSend<'_>, scope: Option<&JobScope>) -> AbiSent {
        let route = match read_route(send.route, scope) {
            Ok(route) => route,
            Err(error) => return done(Err(error.into())),
        };
        let bytes = Bytes::copy_from_slice(send.payload.as_slice());
        let payload = Payload::from_bytes(self.services.codec(), bytes);
        let parent = scope.map(|scope| Arc::clone(&scope.header));
        match self.services.send(SendRequest { route, payload, parent, by_start: panic_site::is_starting() }) {
            SendOutcome::Done(result) => done(result),
            SendOutcome::Pending(future) => match self.lane.drive(future) {
                Ok(waiting) => AbiSent::Waiting(FfiFuture::new(async move { abi_result(waiting.await) })),
                Err(error) => done(Err(error)),
            },
        }
    }
}

impl JobScope {
    pub(crate) fn new(instance: Arc<InstanceServices>, header: Arc<JobHeader>, payload: Payload) -> Self {
        let addresses = write_addresses(header.route.addresses());
        Self { instance, header, payload, addresses }
    }
}

/// The ABI object of [`InstanceServices`]: `abi_stable` wants to own it, so it wraps the shared one.
pub(crate) struct SharedServices(pub(crate) Arc<InstanceServices>);

impl Services for SharedServices {
    fn codec(&self) -> u8 {
        self.0.services.codec() as u8
    }

    fn worker_id(&self) -> RString {
        RString::from(&*self.0.services.worker().id)
    }

    fn send(&self, send: AbiSend<'_>) -> AbiSent {
        self.0.send(send, None)
    }

    fn listener(&self, name: RStr<'_>) -> RResult<i32, RString> {
        let listener = catch_unwind(AssertUnwindSafe(|| self.0.services.listener(name.as_str())));
        let listener = listener.unwrap_or_else(|_| Err("the host's own code panicked; see its log".to_owned()));
        listener.map(IntoRawFd::into_raw_fd).map_err(RString::from).into()
    }

    fn observe(&self, job_type: RStr<'_>, nanos: u64) {
        let observe = || self.0.services.observe(job_type.as_str(), Duration::from_nanos(nanos));
        let _ = catch_unwind(AssertUnwindSafe(observe));
    }

    fn set_value(&self, name: RStr<'_>, value: f64) {
        let _ = catch_unwind(AssertUnwindSafe(|| self.0.services.set_value(name.as_str(), value)));
    }
}

impl Scope for JobScope {
    fn header(&self) -> AbiHeader<'_> {
        let header = &*self.header;
        AbiHeader {
            id: (&*header.id).into(),
            correlation: (&*header.correlation).into(),
            sender: (&*header.sender.id).into(),
            origin: (&*header.origin.id).into(),
            route: AbiRoute { addresses: self.addresses.as_str().into(), position: header.route.position() },
            attempt: header.attempt,
            redelivered: header.redelivered,
        }
    }

    fn payload(&self) -> AbiBytes {
        AbiBytes::new(self.payload.bytes().clone())
    }

    fn send(&self, send: AbiSend<'_>) -> AbiSent {
        self.instance.send(send, Some(self))
    }
}

fn write_addresses(addresses: &[Address]) -> String {
    let mut text = String::with_capacity(addresses.len() * 24);
    for address in addresses {
        if !text.is_empty() {
            text.push('\n');
        }
        match address {
            Address::Any(kind) => text.extend([&**kind, ":*"]),
            Address::One(id) => text.push_str(id),
        }
    }
    text
}

/// Reads a route from a plugin. Forwarding, which is most of what is sent, needs no parsing.
fn read_route(route: AbiRoute<'_>, scope: Option<&JobScope>) -> Result<Route, RouteError> {
    if let Some(scope) = scope
        && let Some(next) = scope.header.route.next()
        && next.position() == route.position
        && scope.addresses == route.addresses.as_str()
    {
        return Ok(next);
    }
    let addresses = route.addresses.as_str().lines().map(Address::new).collect::<Result<Arc<[_]>, _>>()?;
    Route::new(addresses, route.position)
}

fn done(result: Result<JobId, SendError>) -> AbiSent {
    AbiSent::Done(abi_result(result))
}

fn abi_result(result: Result<JobId, SendError>) -> RResult<RString, AbiSendError> {
    match result {
        Ok(id) => RResult::ROk(RString::from(&*id)),
        Err(error) => RResult::RErr(abi_error(&error)),
    }
}

fn abi_error(error: &SendError) -> AbiSendError {
    use send_error_kind::{ENCODE, END_OF_ROUTE, NO_WORKER, TOO_LARGE, UNAVAILABLE};
    let with = |kind, text: &str| AbiSendError { kind, text: text.into(), size: 0, limit: 0 };
    match error {
        SendError::NoWorker(address) => with(NO_WORKER, &address.to_string()),
        SendError::EndOfRoute(address) => with(END_OF_ROUTE, &address.to_string()),
        SendError::Encode(error) => with(ENCODE, &error.reason),
        SendError::TooLarge { size, limit } => {
            AbiSendError { size: *size as u64, limit: *limit as u64, ..with(TOO_LARGE, "") }
        }
        SendError::Unavailable(reason) => with(UNAVAILABLE, reason),
        // The plugin's side has read the route already, so this is not for its author.
        SendError::Route(error) => with(UNAVAILABLE, &error.to_string()),
    }
}
