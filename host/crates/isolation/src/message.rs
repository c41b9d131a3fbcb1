//! What a worker in a process of its own and its host say to each other.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use mshost_bus::{
    Announcement, BusError, BusState, Death, DeathReason, Durability, Event, Failure, Job, Notification, PoolEntry,
};
use mshost_core::ids::{Address, JobId, WorkerId, WorkerRef};
use mshost_core::metrics::Sample;
use mshost_plugin_api::{Codec, EncodeError, Payload, Route, SendError};
use serde::{Deserialize, Serialize};

use super::link::LinkError;

/// What an answer belongs to. Never used twice on one connection.
pub(super) type Call = u64;
/// A delivery in the worker's hands. Never used twice on one connection.
pub(super) type Tag = u64;
/// A consumer or a subscription, by the number that the child has given it.
pub(super) type Number = u32;

/// From the child to the host. The payload of a job is the message's tail.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    Send {
        call: Call,
        job: JobHead,
    },
    /// Whoever sent it has given up.
    Cancel {
        call: Call,
    },
    Join {
        call: Call,
        consumer: Number,
        worker: WorkerRef,
        prefetch: u16,
        durability: Option<Durability>,
    },
    Order {
        call: Call,
        consumer: Number,
        order: Order,
    },
    /// The consumer has been dropped.
    Leave {
        consumer: Number,
    },
    /// Not answered: the worker goes on at once.
    Ack {
        tag: Tag,
    },
    /// The delivery has been dropped.
    HandBack {
        tag: Tag,
        /// The worker has seen it.
        begun: bool,
    },
    Requeue {
        call: Call,
        tag: Tag,
    },
    Retry {
        call: Call,
        tag: Tag,
        after: Duration,
    },
    Bury {
        call: Call,
        tag: Tag,
        death: DeathHead,
    },
    Publish {
        call: Call,
        notification: NotificationHead,
    },
    Subscribe {
        call: Call,
        subscription: Number,
    },
    /// So many more events may be sent.
    Heard {
        subscription: Number,
        events: u32,
    },
    /// The subscription has been dropped.
    Unsubscribe {
        subscription: Number,
    },
    /// Not of the bus.
    Worker(News),
}

/// What a child says of its worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum News {
    State(WorkerNews),
    /// A part of its state, in the message's tail.
    Piece,
    /// What was told is its state, of this schema; or why it cannot be had.
    HandsOver(Result<u32, String>),
    /// It brings no more work in, as [`Notice::Finish`] has asked.
    Idle,
    /// The answer to [`Notice::Ping`].
    Pong(u64),
    Report {
        samples: Vec<Sample>,
        last_error: Option<String>,
    },
}

/// Where a worker is in its life.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum WorkerNews {
    Prepared,
    Running,
    HandingOver,
    /// Its plugin has panicked: it waits for the one that replaces it.
    Broken(String),
    Draining,
    Stopped,
    Failed(String),
}

/// What a host tells a worker.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Notice {
    /// Drain and leave.
    Stop,
    /// Finish what was begun: the host closes.
    Finish,
    /// Are you there?
    Ping(u64),
    /// Stop taking jobs of the type, finish, and tell the state.
    HandOver,
    /// Nobody takes over after all.
    GoOn,
    /// A part of the state that it is to go on with, in the message's tail.
    Piece,
    /// Join the bus; what was told is the state, of this schema, where there is any.
    Admit(Option<u32>),
    /// So many jobs have come to the worker that it is on trial beside.
    Beside(u64),
}

/// What a consumer is asked to do.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Order {
    LeaveType,
    Pause,
    Resume,
    Stop,
}

/// From the host to the child. The payload of a job is the message's tail.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Answer {
        call: Call,
        result: Result<(), Fault>,
    },
    Deliver {
        consumer: Number,
        tag: Tag,
        redelivered: bool,
        job: JobHead,
    },
    /// The bus delivers no more.
    Ended {
        consumer: Number,
    },
    Event {
        subscription: Number,
        event: EventHead,
    },
    /// The bus tells no more.
    Silent {
        subscription: Number,
    },
    State(StateHead),
    Leads(bool),
    /// Not of the bus.
    Worker(Notice),
}

/// A job without its payload's bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct JobHead {
    id: JobId,
    /// `None` where it is the same.
    correlation: Option<JobId>,
    addresses: Arc<[Address]>,
    position: u32,
    sender: WorkerRef,
    /// `None` where it is the same.
    origin: Option<WorkerRef>,
    attempt: u32,
    deadline: Option<SystemTime>,
    codec: u8,
}

impl JobHead {
    pub(super) fn of(job: &Job) -> Self {
        Self {
            id: job.id.clone(),
            correlation: (job.correlation != job.id).then(|| job.correlation.clone()),
            addresses: job.route.addresses().into(),
            position: u32::try_from(job.route.position()).unwrap_or(u32::MAX),
            sender: job.sender.clone(),
            origin: (job.origin != job.sender).then(|| job.origin.clone()),
            attempt: job.attempt,
            deadline: job.deadline,
            codec: job.payload.codec() as u8,
        }
    }

    pub(super) fn with(self, payload: Bytes) -> Result<Job, LinkError> {
        let Self { id, correlation, addresses, position, sender, origin, attempt, deadline, codec: written } = self;
        let route = Route::new(addresses, position as usize).map_err(malformed)?;
        Ok(Job {
            correlation: correlation.unwrap_or_else(|| id.clone()),
            id,
            route,
            origin: origin.unwrap_or_else(|| sender.clone()),
            sender,
            attempt,
            deadline,
            payload: Payload::from_bytes(codec(written)?, payload),
        })
    }
}

/// A death. `Death` itself has no form of its own outside of a process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DeathHead {
    reason: DeathReason,
    error: String,
    worker: Option<WorkerRef>,
    at: SystemTime,
}

impl From<Death> for DeathHead {
    fn from(Death { reason, error, worker, at }: Death) -> Self {
        Self { reason, error, worker, at }
    }
}

impl From<DeathHead> for Death {
    fn from(DeathHead { reason, error, worker, at }: DeathHead) -> Self {
        Self { at, ..Self::now(reason, &error, worker) }
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Fault {
    NoWorker(Address),
    EndOfRoute(Address),
    Encode { codec: u8, reason: String },
    TooLarge { size: u64, limit: u64 },
    Unavailable(String),
    Closed,
    Refused { what: String, reason: String },
}

impl From<SendError> for Fault {
    fn from(error: SendError) -> Self {
        match error {
            SendError::NoWorker(address) => Self::NoWorker(address),
            SendError::EndOfRoute(address) => Self::EndOfRoute(address),
            SendError::Encode(EncodeError { codec, reason }) => Self::Encode { codec: codec as u8, reason },
            SendError::TooLarge { size, limit } => Self::TooLarge { size: size as u64, limit: limit as u64 },
            SendError::Unavailable(reason) => Self::Unavailable(reason),
            // A route that was read on this side is one.
            SendError::Route(error) => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<Fault> for SendError {
    fn from(fault: Fault) -> Self {
        let text = fault.text();
        match fault {
            Fault::NoWorker(address) => Self::NoWorker(address),
            Fault::EndOfRoute(address) => Self::EndOfRoute(address),
            Fault::Encode { codec: written, reason } => {
                Self::Encode(EncodeError { codec: codec(written).unwrap_or_default(), reason })
            }
            Fault::TooLarge { size, limit } => Self::TooLarge { size: size as usize, limit: limit as usize },
            Fault::Unavailable(reason) => Self::Unavailable(reason),
            Fault::Closed | Fault::Refused { .. } => Self::Unavailable(text),
        }
    }
}

impl From<BusError> for Fault {
    fn from(error: BusError) -> Self {
        match error {
            BusError::Closed => Self::Closed,
            BusError::Unavailable(reason) => Self::Unavailable(reason),
            BusError::Refused { what, reason } => Self::Refused { what, reason },
            BusError::Encode(EncodeError { codec, reason }) => Self::Encode { codec: codec as u8, reason },
        }
    }
}

impl From<Fault> for BusError {
    fn from(fault: Fault) -> Self {
        let text = fault.text();
        match fault {
            Fault::Closed => Self::Closed,
            Fault::Refused { what, reason } => Self::Refused { what, reason },
            Fault::Encode { codec: written, reason } => {
                Self::Encode(EncodeError { codec: codec(written).unwrap_or_default(), reason })
            }
            Fault::Unavailable(reason) => Self::Unavailable(reason),
            Fault::NoWorker(_) | Fault::EndOfRoute(_) | Fault::TooLarge { .. } => Self::Unavailable(text),
        }
    }
}

impl Fault {
    /// In the words of an error that has no case of its own for it.
    fn text(&self) -> String {
        match self {
            Self::Closed => BusError::Closed.to_string(),
            Self::Refused { what, reason } => format!("{what}: {reason}"),
            Self::NoWorker(address) => SendError::NoWorker(address.clone()).to_string(),
            Self::EndOfRoute(address) => SendError::EndOfRoute(address.clone()).to_string(),
            Self::TooLarge { size, limit } => {
                SendError::TooLarge { size: *size as usize, limit: *limit as usize }.to_string()
            }
            Self::Encode { reason, .. } | Self::Unavailable(reason) => reason.clone(),
        }
    }
}

/// A notification without the bytes of a payload. The original's jobs are not for isolated workers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum NotificationHead {
    New { worker: WorkerRef, host: Option<String>, resend: bool },
    GetAll,
    List(Vec<PoolEntry>),
    Del(WorkerRef),
    Error { failure: FailureHead, codec: Option<u8> },
    ListRequest,
}

/// A failure without its payload.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FailureHead {
    target: WorkerRef,
    error: String,
    id: JobId,
    correlation: JobId,
    reporter: Option<WorkerRef>,
}

impl NotificationHead {
    /// The head and the tail of a notification; `None` where it has none.
    pub(super) fn of(notification: Notification) -> Option<(Self, Bytes)> {
        let alone = |head| Some((head, Bytes::new()));
        match notification {
            Notification::New { worker: Announcement { worker, host }, resend } => {
                alone(Self::New { worker, host, resend })
            }
            Notification::GetAll => alone(Self::GetAll),
            Notification::List(pool) => alone(Self::List(pool)),
            Notification::Del(worker) => alone(Self::Del(worker)),
            Notification::ListRequest => alone(Self::ListRequest),
            Notification::Error(Failure { target, error, id, correlation, reporter, payload }) => {
                let failure = FailureHead { target, error, id, correlation, reporter };
                let codec = payload.as_ref().map(|payload| payload.codec() as u8);
                let tail = payload.map(|payload| payload.bytes().clone()).unwrap_or_default();
                Some((Self::Error { failure, codec }, tail))
            }
            Notification::Next(_) | Notification::Taken { .. } => None,
        }
    }

    pub(super) fn with(self, tail: Bytes) -> Result<Notification, LinkError> {
        Ok(match self {
            Self::New { worker, host, resend } => Notification::New { worker: Announcement { worker, host }, resend },
            Self::GetAll => Notification::GetAll,
            Self::List(pool) => Notification::List(pool),
            Self::Del(worker) => Notification::Del(worker),
            Self::ListRequest => Notification::ListRequest,
            Self::Error { failure: FailureHead { target, error, id, correlation, reporter }, codec: written } => {
                let payload = written.map(|written| Ok(Payload::from_bytes(codec(written)?, tail)));
                let payload = payload.transpose().map_err(|error: LinkError| error)?;
                Notification::Error(Failure { target, error, id, correlation, reporter, payload })
            }
        })
    }

    /// Whether a worker may say this: of itself, and of jobs.
    pub(super) fn is_of(&self, who: &WorkerId) -> bool {
        match self {
            Self::New { worker, .. } | Self::Del(worker) => worker.id == *who,
            Self::Error { .. } => true,
            Self::GetAll | Self::List(_) | Self::ListRequest => false,
        }
    }

    /// Whether a worker has to hear this.
    pub(super) fn is_for(&self, who: &WorkerId) -> bool {
        match self {
            Self::Error { failure, .. } => failure.target.id == *who,
            Self::GetAll => true,
            Self::New { .. } | Self::Del(_) | Self::List(_) | Self::ListRequest => false,
        }
    }
}

/// An event. A notification's payload is the message's tail.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum EventHead {
    Notification(NotificationHead),
    Missed(u64),
    Reconnected,
}

impl EventHead {
    /// The head and the tail of an event; `None` where it has none.
    pub(super) fn of(event: Event) -> Option<(Self, Bytes)> {
        match event {
            Event::Notification(notification) => {
                let (head, tail) = NotificationHead::of(notification)?;
                Some((Self::Notification(head), tail))
            }
            Event::Missed(count) => Some((Self::Missed(count), Bytes::new())),
            Event::Reconnected => Some((Self::Reconnected, Bytes::new())),
        }
    }

    pub(super) fn with(self, tail: Bytes) -> Result<Event, LinkError> {
        Ok(match self {
            Self::Notification(head) => Event::Notification(head.with(tail)?),
            Self::Missed(count) => Event::Missed(count),
            Self::Reconnected => Event::Reconnected,
        })
    }
}

/// A state of the bus.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum StateHead {
    Connected,
    Away { error: String },
    Closed,
}

impl From<&BusState> for StateHead {
    fn from(state: &BusState) -> Self {
        match state {
            BusState::Connected => Self::Connected,
            BusState::Away { error } => Self::Away { error: error.clone() },
            BusState::Closed => Self::Closed,
        }
    }
}

impl From<StateHead> for BusState {
    fn from(state: StateHead) -> Self {
        match state {
            StateHead::Connected => Self::Connected,
            StateHead::Away { error } => Self::Away { error },
            StateHead::Closed => Self::Closed,
        }
    }
}

pub(super) fn codec(number: u8) -> Result<Codec, LinkError> {
    let known = Codec::ALL.into_iter().find(|codec| *codec as u8 == number);
    known.ok_or_else(|| LinkError::Malformed(format!("codec {number}")))
}

fn malformed(error: impl std::fmt::Display) -> LinkError {
    LinkError::Malformed(error.to_string())
}
