//! Names on the bus: types, ids and addresses. Each is a type of its own: two strings can be swapped, two types cannot.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest worker type or id, in bytes: with a queue name's prefix it must fit AMQP's 255-byte short string.
pub const MAX_NAME_BYTES: usize = 200;

/// The digits of the millisecond timestamp that `TYPE:[0-9]{13}` in MicroServices.js demands in a worker id.
const TIMESTAMP_DIGITS: usize = 13;

/// The error of a text that is not a name or an address on the bus.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("a {what} cannot be empty")]
    Empty {
        /// What was being read.
        what: &'static str,
    },
    /// More than [`MAX_NAME_BYTES`].
    #[error("a {what} has at most {MAX_NAME_BYTES} bytes, this one has {len}")]
    TooLong {
        /// What was being read.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// A character outside of the allowed set.
    #[error("a {what} may hold letters, digits, `_`, `-` and `.`, but {text:?} holds {found:?}")]
    Character {
        /// What was being read.
        what: &'static str,
        /// The whole text.
        text: String,
        /// The first character that is not allowed.
        found: char,
    },
    /// A worker id whose part after the `:` does not start with 13 digits.
    #[error("expected an address like `WB:*` or `WB:1460306476102`, found {0:?}")]
    Address(String),
}

fn check(what: &'static str, text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { what });
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong { what, len: text.len() });
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))) {
        Some(found) => Err(NameError::Character { what, text: text.to_owned(), found }),
        None => Ok(()),
    }
}

macro_rules! text_newtype {
    ($name:ident) => {
        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

/// The type of a worker, as in `WB`. Workers of one type do the same job and share its queue.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerType(Arc<str>);
text_newtype!(WorkerType);

impl WorkerType {
    /// Reads a worker type.
    ///
    /// # Errors
    /// Where the text is empty, too long, or holds anything but letters, digits, `_`, `-` and `.`.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check("worker type", text)?;
        Ok(Self(text.into()))
    }
}

/// The id of one worker, as in `WB:1460306476102` or `WB:1460306476102-7f3a`: its type, `:`, 13 digits (milliseconds
/// since the epoch), and any suffix (the pattern of MicroServices.js is not anchored).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(Arc<str>);
text_newtype!(WorkerId);

impl WorkerId {
    /// Reads a worker id.
    ///
    /// # Errors
    /// Where the text is not `TYPE:` followed by 13 digits and an optional suffix.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let (kind, rest) = text.split_once(':').ok_or_else(|| NameError::Address(text.to_owned()))?;
        check("worker type", kind)?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits < TIMESTAMP_DIGITS {
            return Err(NameError::Address(text.to_owned()));
        }
        check("worker id", rest)?;
        if text.len() > MAX_NAME_BYTES {
            return Err(NameError::TooLong { what: "worker id", len: text.len() });
        }
        Ok(Self(text.into()))
    }

    /// The part before the `:`.
    #[must_use]
    pub fn worker_type(&self) -> WorkerType {
        let kind = self.0.split_once(':').map_or(&*self.0, |(kind, _)| kind);
        WorkerType(kind.into())
    }
}

/// The id of a job. Ours are unique across hosts; those of MicroServices.js (`J` and 13 digits) are not, under load.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(Arc<str>);
text_newtype!(JobId);

impl JobId {
    /// Reads a job id.
    ///
    /// # Errors
    /// Where the text is empty, too long, or holds anything but letters, digits, `_`, `-` and `.`.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check("job id", text)?;
        Ok(Self(text.into()))
    }
}

/// A worker's id and type, as on the wire: `{"id": "WB:1460306476102", "type": "WB"}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WorkerRef {
    /// The worker itself.
    pub id: WorkerId,
    /// The type that it serves.
    #[serde(rename = "type")]
    pub worker_type: WorkerType,
}

impl From<WorkerId> for WorkerRef {
    fn from(id: WorkerId) -> Self {
        let worker_type = id.worker_type();
        Self { id, worker_type }
    }
}

/// The address of a job: any one worker of a type, or one worker by its id.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// `TYPE:*`, any one worker of the type.
    Any(WorkerType),
    /// `TYPE:1460306476102`, this worker and no other.
    One(WorkerId),
}

impl Address {
    /// Reads an address. A bare `TYPE` means `TYPE:*`: in MicroServices.js it matches no worker, which breaks one of its own examples.
    ///
    /// # Errors
    /// Where the text is neither `TYPE`, `TYPE:*` nor a worker id.
    pub fn new(text: &str) -> Result<Self, NameError> {
        match text.split_once(':') {
            None => WorkerType::new(text).map(Self::Any),
            Some((kind, "*")) => WorkerType::new(kind).map(Self::Any),
            Some(_) => WorkerId::new(text).map(Self::One),
        }
    }

    /// The type that is addressed, by itself or through one of its workers.
    #[must_use]
    pub fn worker_type(&self) -> WorkerType {
        match self {
            Self::Any(kind) => kind.clone(),
            Self::One(id) => id.worker_type(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any(kind) => write!(f, "{kind}:*"),
            Self::One(id) => write!(f, "{id}"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}
