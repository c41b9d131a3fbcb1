//! Why a message was refused.

use mshost_plugin_api::Codec;

/// A message that is not what protocol.md says, with all that a log line needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the {what} as {codec}: {reason}")]
pub struct Malformed {
    what: &'static str,
    codec: Codec,
    kind: Kind,
    reason: String,
}

impl Malformed {
    pub(super) fn new(what: &'static str, codec: Codec, fault: Fault) -> Self {
        Self { what, codec, kind: fault.kind, reason: fault.reason }
    }

    /// What is wrong with it, in one word, for `mshost_malformed_total{kind}`: `empty`, `syntax`, `trailing`, `nesting`,
    /// `field` or `routing_key`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Empty => "empty",
            Kind::Syntax => "syntax",
            Kind::Trailing => "trailing",
            Kind::Nesting => "nesting",
            Kind::Field => "field",
            Kind::RoutingKey => "routing_key",
        }
    }
}

/// As much of a reason as a log line bears.
const MAX_REASON_BYTES: usize = 400;

/// The kinds of [`Malformed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Empty,
    Syntax,
    Trailing,
    Nesting,
    Field,
    RoutingKey,
}

/// A [`Malformed`] that does not know yet which message it is about.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn new(kind: Kind, reason: impl ToString) -> Self {
        let mut reason = reason.to_string();
        // serde quotes what it did not expect, however long.
        if reason.len() > MAX_REASON_BYTES {
            reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
            reason.push('…');
        }
        Self { kind, reason }
    }

    pub(super) fn syntax(reason: impl ToString) -> Self {
        Self::new(Kind::Syntax, reason)
    }

    pub(super) fn field(reason: impl ToString) -> Self {
        Self::new(Kind::Field, reason)
    }

    pub(super) fn too_deep() -> Self {
        Self::new(Kind::Nesting, format!("it is nested more than {} levels deep", super::MAX_NESTING))
    }

    pub(super) fn trailing(end: usize, len: usize) -> Self {
        Self::new(Kind::Trailing, format!("it ends at byte {end}, but {} more follow", len - end))
    }

    pub(super) fn two_data() -> Self {
        Self::field("it has the field `data` twice")
    }
}
