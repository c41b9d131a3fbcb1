//! The bus as a worker in a process of its own has it, with both ends in one process.
#![allow(clippy::expect_used)] // a harness fails by panicking

use std::sync::Arc;

use async_trait::async_trait;
use mshost_bus::{
    Bus, BusError, BusLimits, BusState, Codec, Consumer, ConsumerOptions, DeadLetterStore, HostBus, Job, Leadership,
    Notification, QueueDepth, SendError, Subscription,
};
use mshost_core::ids::WorkerRef;
use mshost_isolation::{BusParameters, BusPermissions, RemoteBus, serve};
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// A remote end of a bus, which does over a socket whatever workers do. What only hosts do is done on the bus itself: an
/// isolated worker has no right to it.
pub struct RemotePair {
    remote: RemoteBus,
    real: Arc<dyn HostBus>,
}

/// Joins to a bus over a pair of sockets. Both ends run on the runtime that this is called in.
///
/// # Panics
/// Where the system has no sockets left.
#[must_use]
pub fn join(real: Arc<dyn HostBus>, limits: &BusLimits) -> RemotePair {
    join_across(real, limits, &Handle::current())
}

/// As [`join`], with the host's end on another runtime.
///
/// # Panics
/// Where the system has no sockets left.
#[must_use]
pub fn join_across(real: Arc<dyn HostBus>, limits: &BusLimits, host: &Handle) -> RemotePair {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair of sockets");
    for socket in [&ours, &theirs] {
        socket.set_nonblocking(true).expect("a socket that does not block");
    }
    let (bus, message_bytes) = (real.clone(), limits.message_bytes);
    host.spawn(async move {
        let stream = UnixStream::from_std(ours).expect("a socket");
        serve(stream, bus, BusPermissions::Unrestricted, message_bytes).await.expect("a child that keeps to the rules")
    });
    let child = UnixStream::from_std(theirs).expect("a socket");
    let parameters = BusParameters { codec: real.codec(), message_bytes: limits.message_bytes };
    RemotePair { remote: RemoteBus::connect(child, parameters), real }
}

#[async_trait]
impl Bus for RemotePair {
    fn codec(&self) -> Codec {
        self.remote.codec()
    }

    async fn send(&self, job: Job) -> Result<(), SendError> {
        self.remote.send(job).await
    }

    fn try_send(&self, job: Job) -> Result<Result<(), SendError>, Box<Job>> {
        self.remote.try_send(job)
    }

    async fn join(&self, worker: &WorkerRef, options: ConsumerOptions) -> Result<Box<dyn Consumer>, BusError> {
        self.remote.join(worker, options).await
    }

    async fn publish(&self, notification: Notification) -> Result<(), BusError> {
        self.remote.publish(notification).await
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, BusError> {
        self.remote.subscribe().await
    }

    fn state(&self) -> watch::Receiver<BusState> {
        self.remote.state()
    }

    async fn close(&self) {
        self.remote.close().await;
        self.real.close().await;
    }
}

#[async_trait]
impl HostBus for RemotePair {
    fn dead_letters(&self) -> &dyn DeadLetterStore {
        self.real.dead_letters()
    }

    fn leadership(&self) -> &dyn Leadership {
        self.real.leadership()
    }

    async fn depths(&self) -> Vec<QueueDepth> {
        self.real.depths().await
    }
}
