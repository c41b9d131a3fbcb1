//! State of a worker that it hands over to its next version.

use std::future::Future;
use std::io::{self, Write};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{BlockingWorker, Codec, Context, DecodeError, Error, Payload, Worker};

/// A [`Worker`] whose state is handed over to its next version.
///
/// ```
/// use std::cell::Cell;
///
/// use mshost_plugin_api::{Context, Error, Job, NoConfig, Stateful, Worker, export_plugin};
///
/// struct Counter(Cell<u64>);
///
/// impl Worker for Counter {
///     type Config = NoConfig;
///     async fn start(_: NoConfig, _: &Context) -> Result<Self, Error> {
///         Ok(Self(Cell::new(0)))
///     }
///     async fn handle(&self, _: Job, _: &Context) -> Result<(), Error> {
///         self.0.set(self.0.get() + 1);
///         Ok(())
///     }
/// }
///
/// impl Stateful for Counter {
///     type State = u64;
///     async fn snapshot(&self, _: &Context) -> Result<u64, Error> {
///         Ok(self.0.get())
///     }
///     async fn restore(&self, count: u64, _: &Context) -> Result<(), Error> {
///         self.0.set(count);
///         Ok(())
///     }
/// }
///
/// export_plugin! { workers: { "WC" => stateful Counter } }
/// # fn main() {}
/// ```
///
/// # When it is called
/// At each swap of a running worker: a new version of its plugin, or a change of its `[[worker]]`. The new one is
/// started. Then the old one takes no more jobs of its type, finishes those it has started (at most `drain_timeout`; the
/// rest goes back to the queue), and is asked for a snapshot. The new one restores it, and only then gets jobs; what was
/// sent meanwhile has waited. If any of this fails the new one is dropped, the failure is reported, and the old one goes
/// on as before. Each of several instances hands over to the one that takes its own place.
///
/// # What is not kept
/// * A worker that crashed is started again without state, and so is every worker of a host that was restarted: nothing
///   is written to disk.
/// * What the old worker does after its snapshot. It gets no more jobs of its type, but until its
///   [`drain`](Worker::drain) has returned those that are addressed to its own id, which are answers to what it began.
pub trait Stateful: Worker {
    /// The form of [`Stateful::State`]. Raise it when the state of an older version can no longer be read as it is.
    const SCHEMA: u32 = 1;

    /// The state. It crosses as MessagePack with the names of fields, so that a field with `#[serde(default)]`
    /// may be added, and one may be removed, without another [`Stateful::SCHEMA`].
    type State: Serialize + DeserializeOwned;

    /// Takes the state for the next version. No job is being handled; jobs come again if the swap fails. The host waits for at most
    /// `start_timeout`, and takes at most `snapshot_limit` of bytes.
    fn snapshot(&self, ctx: &Context) -> impl Future<Output = Result<Self::State, Error>>;

    /// Takes over the state of the version before, after `start` and before the first job. An error is a failed start. The host
    /// waits for at most `start_timeout`.
    fn restore(&self, state: Self::State, ctx: &Context) -> impl Future<Output = Result<(), Error>>;

    /// Converts a snapshot with another schema. By default no other schema is accepted.
    ///
    /// # Errors
    /// Where the state cannot be used: the swap fails, and the old version goes on.
    fn migrate(older: Snapshot) -> Result<Self::State, Error> {
        Err(foreign(&older, Self::SCHEMA))
    }
}

/// As [`Stateful`], for a [`BlockingWorker`]: `"WC" => blocking stateful Counter`. Both functions run on one of its threads.
pub trait BlockingStateful: BlockingWorker {
    /// As [`Stateful::SCHEMA`].
    const SCHEMA: u32 = 1;

    /// As [`Stateful::State`].
    type State: Serialize + DeserializeOwned;

    /// As [`Stateful::snapshot`]. A handler that overran its `timeout` may still run.
    ///
    /// # Errors
    /// Where the state cannot be taken: the swap fails, and this worker goes on.
    fn snapshot(&self, ctx: &Context) -> Result<Self::State, Error>;

    /// As [`Stateful::restore`].
    ///
    /// # Errors
    /// Where the state cannot be used: the swap fails, and the old version goes on.
    fn restore(&self, state: Self::State, ctx: &Context) -> Result<(), Error>;

    /// As [`Stateful::migrate`].
    ///
    /// # Errors
    /// As [`Stateful::migrate`].
    fn migrate(older: Snapshot) -> Result<Self::State, Error> {
        Err(foreign(&older, Self::SCHEMA))
    }
}

/// The state of another version, for [`Stateful::migrate`].
#[derive(Debug, Clone)]
pub struct Snapshot {
    schema: u32,
    payload: Payload,
}

impl Snapshot {
    pub(crate) fn new(schema: u32, bytes: Bytes) -> Self {
        Self { schema, payload: Payload::from_bytes(Codec::MsgPack, bytes) }
    }

    /// The [`Stateful::SCHEMA`] of the version that made it, which may be newer than this one's: a rollback.
    #[must_use]
    pub fn schema(&self) -> u32 {
        self.schema
    }

    /// The state, as that version's type (a copy of which the author keeps).
    ///
    /// # Errors
    /// Where it is not a `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        self.payload.decode()
    }

    /// The state, migrated where it has another schema.
    pub(crate) fn into_state<T: DeserializeOwned>(
        self,
        schema: u32,
        migrate: fn(Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.schema == schema {
            self.decode().map_err(|error| Error::permanent(format!("the snapshot does not fit: {error}")))
        } else {
            migrate(self)
        }
    }
}

fn foreign(found: &Snapshot, known: u32) -> Error {
    Error::permanent(format!("the snapshot has schema {}, this version takes schema {known} only", found.schema))
}

/// Serializes a state to at most `limit` bytes.
pub(crate) fn encode<T: Serialize>(state: &T, limit: u64) -> Result<Bytes, Error> {
    let mut written =
        LimitedWriter { bytes: Vec::new(), limit: usize::try_from(limit).unwrap_or(usize::MAX), is_over: false };
    match state.serialize(&mut rmp_serde::Serializer::new(&mut written).with_struct_map()) {
        Ok(()) => Ok(written.bytes.into()),
        Err(_) if written.is_over => {
            Err(Error::permanent(format!("the snapshot is larger than {limit} bytes (`snapshot_limit`)")))
        }
        Err(error) => Err(Error::permanent(format!("the snapshot cannot be written: {error}"))),
    }
}

/// A writer that fails beyond a limit, so that a state without end does not use all memory first.
struct LimitedWriter {
    bytes: Vec<u8>,
    limit: usize,
    is_over: bool,
}

impl Write for LimitedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.limit - self.bytes.len() < bytes.len() {
            self.is_over = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Old {
        count: u64,
        gone: String,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct New {
        count: u64,
        #[serde(default)]
        added: Option<u8>,
    }

    fn old() -> Snapshot {
        let state = Old { count: u64::MAX, gone: "away".to_owned() };
        Snapshot::new(1, encode(&state, 1_000).unwrap())
    }

    #[test]
    fn fields_come_and_go_under_one_schema() {
        let state: New = old().into_state(1, |_| Err(Error::new("not asked"))).unwrap();
        assert_eq!(state, New { count: u64::MAX, added: None });
    }

    #[test]
    fn another_schema_is_migrated_or_refused() {
        let state = old().into_state(2, |older| Ok((older.schema(), older.decode::<Old>()?.count)));
        assert_eq!(state.unwrap(), (1, u64::MAX));
        let refused = old().into_state::<u64>(3, |older| Err(foreign(&older, 3))).unwrap_err();
        assert_eq!(refused.message(), "the snapshot has schema 1, this version takes schema 3 only");
    }

    #[test]
    fn another_type_under_the_same_schema_is_an_error_that_says_so() {
        let error = old().into_state::<Vec<u8>>(1, |_| Err(Error::new("not asked"))).unwrap_err();
        assert!(error.message().starts_with("the snapshot does not fit: "), "{error}");
    }

    #[test]
    fn the_limit_is_the_most_that_is_taken() {
        let state = vec!["0123456789"; 10];
        let size = encode(&state, u64::MAX).unwrap().len() as u64;
        assert_eq!(encode(&state, size).unwrap().len() as u64, size);
        let error = encode(&state, size - 1).unwrap_err();
        assert!(error.message().contains(&format!("larger than {} bytes (`snapshot_limit`)", size - 1)), "{error}");
    }
}
