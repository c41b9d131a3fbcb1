//! What a worker wants delivered, and the commands that change it.

use tokio::sync::oneshot;

/// What a worker wants delivered by the broker. The session makes its consumers equal to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Jobs of its type, and jobs for its id.
    TypeAndOwn,
    /// Jobs for its id. It stays a worker of its type, and jobs may wait for it.
    Paused,
    /// Jobs for its id. It is no worker of its type any more.
    OwnOnly,
    /// No jobs. What it has in hand can still be settled.
    Nothing,
}

/// What changes a [`Demand`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionCommand {
    /// No more jobs of its type for now.
    Pause,
    /// Jobs of its type again.
    Resume,
    /// No more jobs of its type, for good.
    LeaveType,
    /// No more jobs at all.
    Stop,
}

/// A command, and the reply that it has been carried out.
pub(crate) struct SessionOrder {
    pub(crate) command: SessionCommand,
    pub(crate) done: oneshot::Sender<()>,
}

impl Demand {
    /// The demand after a command; `None` where the command changes nothing.
    pub(crate) fn after(self, command: SessionCommand) -> Option<Self> {
        match (self, command) {
            (Self::TypeAndOwn, SessionCommand::Pause) => Some(Self::Paused),
            (Self::Paused, SessionCommand::Resume) => Some(Self::TypeAndOwn),
            (Self::TypeAndOwn | Self::Paused, SessionCommand::LeaveType) => Some(Self::OwnOnly),
            (Self::TypeAndOwn | Self::Paused | Self::OwnOnly, SessionCommand::Stop) => Some(Self::Nothing),
            (Self::TypeAndOwn, SessionCommand::Resume)
            | (Self::Paused, SessionCommand::Pause)
            | (Self::OwnOnly, SessionCommand::Pause | SessionCommand::Resume | SessionCommand::LeaveType)
            | (Self::Nothing, _) => None,
        }
    }

    /// Whether jobs of the type are to be delivered now.
    pub(crate) fn wants_type(self) -> bool {
        self == Self::TypeAndOwn
    }

    /// Whether jobs for the worker's id are to be delivered.
    pub(crate) fn wants_own(self) -> bool {
        self != Self::Nothing
    }

    /// Whether the worker takes jobs of its type, now or after a pause: the queue of the type has to stay for it.
    pub(crate) fn keeps_type(self) -> bool {
        matches!(self, Self::TypeAndOwn | Self::Paused)
    }
}
