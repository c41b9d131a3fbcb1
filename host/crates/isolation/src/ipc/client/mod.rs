//! IPC client: the bus of a worker in a process of its own. Everything is a request to the host.

mod client_connection;
mod remote_consumer;
mod remote_subscription;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use mshost_plugin_api::EncodeError;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};

pub use self::client_connection::BusParameters;
use mshost_bus::{
    Bus, BusError, BusState, Codec, Consumer, ConsumerOptions, Job, Notification, SendError, Subscription,
};
use mshost_core::ids::WorkerRef;
use mshost_plugin_host::StateSnapshot;
use mshost_worker::Progress;

use self::client_connection::ClientConnection;
use self::remote_consumer::RemoteConsumer;
use self::remote_subscription::RemoteSubscription;
use super::ipc_error::IpcError;
use super::message::{ChildMessage, ChildReport, HostCommand, IpcJob, IpcNotification};
use super::outbound_queue::OutboundQueue;
use super::state_chunks::StateChunks;

/// The most commands of the host that wait for a worker: each is sent once, but for the two of a handover.
const COMMANDS: usize = 8;

/// The bus of a child, over its connection to the host. Dropping it closes the connection.
pub struct RemoteBus {
    connection: Arc<ClientConnection>,
}

/// A command of the host to the worker.
pub(crate) enum WorkerCommand {
    /// Drain and leave.
    Stop,
    /// Finish what was started: the host closes.
    Finish,
    /// Stop taking jobs of the type, finish the started ones, and send the state.
    HandOver,
    /// Resume: no other worker takes over after all.
    CancelHandover,
    /// Join the bus, with this state where there is any.
    Admit(Option<StateSnapshot>),
}

impl RemoteBus {
    /// Takes a socket whose other end a host [serves](crate::serve). A task of the current runtime reads and writes it.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn connect(stream: UnixStream, parameters: BusParameters) -> Self {
        let refuse = |command, _| Err(IpcError::Malformed(format!("{command:?}, which is not of the bus")));
        Self::open(stream, parameters, Arc::default(), refuse)
    }

    /// As [`RemoteBus::connect`], with the commands of the host to the worker. Pings are answered at once, by the thread that
    /// this is called on. `baseline` follows the progress of the worker that this one is the canary of.
    pub(crate) fn connect_worker(
        stream: UnixStream,
        parameters: BusParameters,
        snapshot_limit: u64,
        baseline: Arc<Progress>,
    ) -> (Self, mpsc::Receiver<WorkerCommand>) {
        let (commands, received) = mpsc::channel(COMMANDS);
        let outbound = Arc::<OutboundQueue>::default();
        let answering = Arc::clone(&outbound);
        let chunks = StateChunks::new(snapshot_limit);
        let pass_on = move |command| {
            commands.try_send(command).map_err(|_| IpcError::Malformed("more commands than there are".to_owned()))
        };
        let on_command = move |command, tail: Bytes| match command {
            HostCommand::Ping(question) => Ok(answering.send(&ChildMessage::Report(ChildReport::Pong(question)))?),
            HostCommand::BaselineStarted(started) => {
                baseline.set_begun(started);
                Ok(())
            }
            HostCommand::StateChunk => chunks.add(&tail),
            HostCommand::Admit(schema) => pass_on(WorkerCommand::Admit(schema.map(|schema| chunks.take(schema)))),
            HostCommand::Stop => pass_on(WorkerCommand::Stop),
            HostCommand::Finish => pass_on(WorkerCommand::Finish),
            HostCommand::HandOver => pass_on(WorkerCommand::HandOver),
            HostCommand::CancelHandover => pass_on(WorkerCommand::CancelHandover),
        };
        (Self::open(stream, parameters, outbound, on_command), received)
    }

    /// Sends a report about the worker to the host. Lost where the host is gone.
    pub(crate) fn report(&self, report: ChildReport) {
        self.report_with(report, &Bytes::new());
    }

    /// As [`RemoteBus::report`], with a tail.
    pub(crate) fn report_with(&self, report: ChildReport, tail: &Bytes) {
        let _ = self.connection.outbound.push(&ChildMessage::Report(report), tail);
    }

    fn open(
        stream: UnixStream,
        parameters: BusParameters,
        outbound: Arc<OutboundQueue>,
        on_command: impl FnMut(HostCommand, Bytes) -> Result<(), IpcError> + Send + 'static,
    ) -> Self {
        let connection = ClientConnection::new(parameters, outbound);
        let running = Arc::clone(&connection);
        tokio::spawn(async move {
            if let Err(error) = running.run(stream, on_command).await {
                tracing::error!(target: "mshost::isolation", "the connection to the host fails: {error}");
            }
        });
        Self { connection }
    }
}

#[async_trait]
impl Bus for RemoteBus {
    fn codec(&self) -> Codec {
        self.connection.bus.codec
    }

    async fn send(&self, job: Job) -> Result<(), SendError> {
        let connection = &self.connection;
        let (size, limit) = (job.payload.bytes().len(), connection.bus.message_bytes);
        // The host would answer the same, but reads no message of that length.
        if job.payload.codec() == connection.bus.codec && size > limit {
            return Err(SendError::TooLarge { size, limit });
        }
        if job.payload.codec() != connection.bus.codec {
            let (written, codec) = (job.payload.codec(), connection.bus.codec);
            let reason = format!("the data is written in {written}, but the bus speaks {codec}");
            return Err(EncodeError { codec, reason }.into());
        }
        connection.outbound.wait_for_capacity().await;
        let head = IpcJob::of(&job);
        connection
            .request(|request_id| ChildMessage::Send { request_id, job: head }, job.payload.bytes())
            .await
            .map_err(SendError::from)
    }

    async fn join(&self, worker: &WorkerRef, options: ConsumerOptions) -> Result<Box<dyn Consumer>, BusError> {
        Ok(Box::new(RemoteConsumer::join(&self.connection, worker, options).await?))
    }

    async fn publish(&self, notification: Notification) -> Result<(), BusError> {
        let Some((notification, tail)) = IpcNotification::of(notification) else {
            let (what, reason) =
                ("telling the jobs of the original".to_owned(), "not for a worker in a process of its own");
            return Err(BusError::Refused { what, reason: reason.to_owned() });
        };
        self.connection.outbound.wait_for_capacity().await;
        self.connection
            .request(|request_id| ChildMessage::Publish { request_id, notification }, &tail)
            .await
            .map_err(BusError::from)
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, BusError> {
        Ok(Box::new(RemoteSubscription::subscribe(&self.connection).await?))
    }

    fn state(&self) -> watch::Receiver<BusState> {
        self.connection.state.subscribe()
    }

    /// Returns once all requests have been written to the socket.
    async fn close(&self) {
        self.connection.outbound.close();
        // The sender lives as long as this does.
        let _ = self.connection.state.subscribe().wait_for(|state| *state == BusState::Closed).await;
    }
}

impl Drop for RemoteBus {
    fn drop(&mut self) {
        self.connection.outbound.close();
    }
}

impl fmt::Debug for RemoteBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteBus").field("bus", &self.connection.bus).finish_non_exhaustive()
    }
}
