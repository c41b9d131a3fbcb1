//! Notifications, events and states of the bus in the form of the IPC.

use bytes::Bytes;
use mshost_bus::{Announcement, BusState, Event, Failure, Notification, PoolEntry};
use mshost_core::ids::{JobId, WorkerId, WorkerRef};
use mshost_plugin_api::Payload;
use serde::{Deserialize, Serialize};

use super::codec_number::codec_of;
use crate::ipc::ipc_error::IpcError;

/// A notification without the bytes of a payload. Jobs of MicroServices.js are not for isolated workers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum IpcNotification {
    New { worker: WorkerRef, host: Option<String>, resend: bool },
    GetAll,
    List(Vec<PoolEntry>),
    Del(WorkerRef),
    Error { failure: IpcFailure, codec: Option<u8> },
    ListRequest,
}

/// A failure without its payload.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct IpcFailure {
    target: WorkerRef,
    error: String,
    id: JobId,
    correlation: JobId,
    reporter: Option<WorkerRef>,
}

impl IpcNotification {
    /// The head and the tail of a notification; `None` where it has none.
    pub(crate) fn of(notification: Notification) -> Option<(Self, Bytes)> {
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
                let failure = IpcFailure { target, error, id, correlation, reporter };
                let codec = payload.as_ref().map(|payload| payload.codec() as u8);
                let tail = payload.map(|payload| payload.bytes().clone()).unwrap_or_default();
                Some((Self::Error { failure, codec }, tail))
            }
            Notification::Next(_) | Notification::Taken { .. } => None,
        }
    }

    pub(crate) fn with(self, tail: Bytes) -> Result<Notification, IpcError> {
        Ok(match self {
            Self::New { worker, host, resend } => Notification::New { worker: Announcement { worker, host }, resend },
            Self::GetAll => Notification::GetAll,
            Self::List(pool) => Notification::List(pool),
            Self::Del(worker) => Notification::Del(worker),
            Self::ListRequest => Notification::ListRequest,
            Self::Error { failure: IpcFailure { target, error, id, correlation, reporter }, codec: written } => {
                let payload = written.map(|written| Ok(Payload::from_bytes(codec_of(written)?, tail)));
                let payload = payload.transpose().map_err(|error: IpcError| error)?;
                Notification::Error(Failure { target, error, id, correlation, reporter, payload })
            }
        })
    }

    /// Whether a worker may publish this: it may about itself and about jobs.
    pub(crate) fn is_of(&self, who: &WorkerId) -> bool {
        match self {
            Self::New { worker, .. } | Self::Del(worker) => worker.id == *who,
            Self::Error { .. } => true,
            Self::GetAll | Self::List(_) | Self::ListRequest => false,
        }
    }

    /// Whether a worker has to receive this.
    pub(crate) fn is_for(&self, who: &WorkerId) -> bool {
        match self {
            Self::Error { failure, .. } => failure.target.id == *who,
            Self::GetAll => true,
            Self::New { .. } | Self::Del(_) | Self::List(_) | Self::ListRequest => false,
        }
    }
}

/// An event. A notification's payload is the message's tail.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum IpcEvent {
    Notification(IpcNotification),
    Missed(u64),
    Reconnected,
}

impl IpcEvent {
    /// The head and the tail of an event; `None` where it has none.
    pub(crate) fn of(event: Event) -> Option<(Self, Bytes)> {
        match event {
            Event::Notification(notification) => {
                let (head, tail) = IpcNotification::of(notification)?;
                Some((Self::Notification(head), tail))
            }
            Event::Missed(count) => Some((Self::Missed(count), Bytes::new())),
            Event::Reconnected => Some((Self::Reconnected, Bytes::new())),
        }
    }

    pub(crate) fn with(self, tail: Bytes) -> Result<Event, IpcError> {
        Ok(match self {
            Self::Notification(head) => Event::Notification(head.with(tail)?),
            Self::Missed(count) => Event::Missed(count),
            Self::Reconnected => Event::Reconnected,
        })
    }
}

/// A [`BusState`] in serializable form.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum IpcBusState {
    Connected,
    Away { error: String },
    Closed,
}

impl From<&BusState> for IpcBusState {
    fn from(state: &BusState) -> Self {
        match state {
            BusState::Connected => Self::Connected,
            BusState::Away { error } => Self::Away { error: error.clone() },
            BusState::Closed => Self::Closed,
        }
    }
}

impl From<IpcBusState> for BusState {
    fn from(state: IpcBusState) -> Self {
        match state {
            IpcBusState::Connected => Self::Connected,
            IpcBusState::Away { error } => Self::Away { error },
            IpcBusState::Closed => Self::Closed,
        }
    }
}
