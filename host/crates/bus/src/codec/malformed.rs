//! Why a message was refused.

use mshost_plugin_api::Codec;

use super::shape::MAX_NESTING;

/// A message that is not what protocol.md says, with all that a log line needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the {what} as {codec}: {reason}")]
pub struct Malformed {
    what: &'static str,
    codec: Codec,
    kind: FaultKind,
    reason: String,
}

impl Malformed {
    pub(super) fn new(what: &'static str, codec: Codec, fault: WireFault) -> Self {
        Self { what, codec, kind: fault.kind, reason: fault.reason }
    }

    /// What is wrong with it, in one word, for `mshost_malformed_total{kind}`: `empty`, `syntax`, `trailing`, `nesting`,
    /// `field` or `routing_key`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.kind {
            FaultKind::Empty => "empty",
            FaultKind::Syntax => "syntax",
            FaultKind::Trailing => "trailing",
            FaultKind::Nesting => "nesting",
            FaultKind::Field => "field",
            FaultKind::RoutingKey => "routing_key",
        }
    }
}

/// As much of a reason as a log line bears.
const MAX_REASON_BYTES: usize = 400;

/// The kinds of [`Malformed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    Empty,
    Syntax,
    Trailing,
    Nesting,
    Field,
    RoutingKey,
}

/// A [`Malformed`] that does not know yet which message it is about.
#[derive(Debug)]
pub(super) struct WireFault {
    pub(super) kind: FaultKind,
    pub(super) reason: String,
}

impl WireFault {
    pub(super) fn new(kind: FaultKind, reason: impl ToString) -> Self {
        let mut reason = reason.to_string();
        // serde quotes what it did not expect, however long.
        if reason.len() > MAX_REASON_BYTES {
            reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
            reason.push('…');
        }
        Self { kind, reason }
    }

    pub(super) fn syntax(reason: impl ToString) -> Self {
        Self::new(FaultKind::Syntax, reason)
    }

    pub(super) fn field(reason: impl ToString) -> Self {
        Self::new(FaultKind::Field, reason)
    }

    pub(super) fn too_deep() -> Self {
        Self::new(FaultKind::Nesting, format!("it is nested more than {} levels deep", MAX_NESTING))
    }

    pub(super) fn trailing(end: usize, len: usize) -> Self {
        Self::new(FaultKind::Trailing, format!("it ends at byte {end}, but {} more follow", len - end))
    }

    pub(super) fn two_data() -> Self {
        Self::field("it has the field `data` twice")
    }
}
