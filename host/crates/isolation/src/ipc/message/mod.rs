//! The messages between a worker's process (child) and its host.

mod codec_number;
mod ipc_job;
mod ipc_notification;
mod request_error;

use std::time::Duration;

use mshost_bus::Durability;
use mshost_core::ids::WorkerRef;
use mshost_core::metrics::Sample;
use mshost_worker::WorkerState;
use serde::{Deserialize, Serialize};

pub(crate) use codec_number::codec_of;
pub(crate) use ipc_job::{IpcDeath, IpcJob};
pub(crate) use ipc_notification::{IpcBusState, IpcEvent, IpcNotification};
pub(crate) use request_error::RequestError;

/// The id of a request, which its response repeats. Unique on a connection.
pub(crate) type RequestId = u64;
/// The tag of an unacked delivery. Unique on a connection.
pub(crate) type DeliveryTag = u64;
/// The id that the child has given a consumer.
pub(crate) type ConsumerId = u32;
/// The id that the child has given a subscription.
pub(crate) type SubscriptionId = u32;

/// The longest head of a message beside its payload, in bytes: 64 addresses, ids, an error text.
pub(crate) const MAX_HEAD_BYTES: usize = 256 << 10;

/// The most events of a subscription that wait in the child: its credit. The host sends no more, so that the bus itself counts
/// what a slow subscriber misses.
pub(crate) const EVENT_CREDIT: u32 = 256;

/// A message from the child to the host. The payload of a job is the message's tail.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ChildMessage {
    Send {
        request_id: RequestId,
        job: IpcJob,
    },
    /// The sender no longer waits.
    Cancel {
        request_id: RequestId,
    },
    Join {
        request_id: RequestId,
        consumer: ConsumerId,
        worker: WorkerRef,
        prefetch: u16,
        durability: Option<Durability>,
    },
    Command {
        request_id: RequestId,
        consumer: ConsumerId,
        command: ConsumerCommand,
    },
    /// The consumer was dropped.
    CloseConsumer {
        consumer: ConsumerId,
    },
    /// Not answered: the worker goes on at once.
    Ack {
        tag: DeliveryTag,
    },
    /// The delivery was returned without a result.
    Return {
        tag: DeliveryTag,
        /// Whether the worker has started it.
        started: bool,
    },
    Requeue {
        request_id: RequestId,
        tag: DeliveryTag,
    },
    Retry {
        request_id: RequestId,
        tag: DeliveryTag,
        after: Duration,
    },
    DeadLetter {
        request_id: RequestId,
        tag: DeliveryTag,
        death: IpcDeath,
    },
    Publish {
        request_id: RequestId,
        notification: IpcNotification,
    },
    Subscribe {
        request_id: RequestId,
        subscription: SubscriptionId,
    },
    /// Allows the host so many more events.
    AddCredit {
        subscription: SubscriptionId,
        events: u32,
    },
    /// The subscription was dropped.
    Unsubscribe {
        subscription: SubscriptionId,
    },
    /// A report about the worker, which is not for the bus.
    Report(ChildReport),
}

/// A report of the child about its worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ChildReport {
    /// The state of its worker has changed. `Stopped` and `Failed` come last.
    State(WorkerState),
    /// A chunk of the worker's state, in the message's tail.
    StateChunk,
    /// All chunks of the state, of this schema, have been sent; or why there is none.
    HandoverState(Result<u32, String>),
    /// It sends no more new jobs, as [`HostCommand::Finish`] has asked.
    Idle,
    /// The answer to [`HostCommand::Ping`].
    Pong(u64),
    /// New measurements, and the last error where it is new.
    Statistics { samples: Vec<Sample>, last_error: Option<String> },
}

/// A command of the host to a worker.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum HostCommand {
    /// Drain and leave.
    Stop,
    /// Finish what was started: the host closes.
    Finish,
    /// Answer with [`ChildReport::Pong`].
    Ping(u64),
    /// Stop taking jobs of the type, finish the started ones, and send the state.
    HandOver,
    /// Resume: no other worker takes over after all.
    CancelHandover,
    /// A chunk of the state to start from, in the message's tail.
    StateChunk,
    /// Join the bus, with the state that was sent, of this schema, where there is one.
    Admit(Option<u32>),
    /// The number of jobs that the baseline of this canary has started.
    BaselineStarted(u64),
}

/// A command to a consumer.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum ConsumerCommand {
    LeaveType,
    Pause,
    Resume,
    Stop,
}

/// A message from the host to the child. The payload of a job is the message's tail.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum HostMessage {
    Response {
        request_id: RequestId,
        result: Result<(), RequestError>,
    },
    Deliver {
        consumer: ConsumerId,
        tag: DeliveryTag,
        redelivered: bool,
        job: IpcJob,
    },
    /// The consumer delivers no more.
    ConsumerEnded {
        consumer: ConsumerId,
    },
    Event {
        subscription: SubscriptionId,
        event: IpcEvent,
    },
    /// The subscription gets no more events.
    SubscriptionEnded {
        subscription: SubscriptionId,
    },
    BusState(IpcBusState),
    /// A command to the worker, which is not from the bus.
    Command(HostCommand),
}
