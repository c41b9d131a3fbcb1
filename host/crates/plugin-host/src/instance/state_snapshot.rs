//! State of a worker that one version hands to the next.

use std::fmt;

use mshost_plugin_api::Retry;

use super::handler_error::HandlerError;

/// The serialized state of a worker. `Debug` leaves the bytes out, which may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct StateSnapshot {
    /// The schema that the plugin gave it.
    pub schema: u32,
    /// The state as the plugin wrote it, opaque to the host.
    pub bytes: Vec<u8>,
}

impl StateSnapshot {
    /// Fails where it is larger than `limit` bytes: a plugin need not have kept to the limit.
    pub(crate) fn within(self, limit: u64) -> Result<Self, HandlerError> {
        let size = self.bytes.len() as u64;
        if size <= limit {
            return Ok(self);
        }
        let message = format!("the snapshot has {size} bytes, more than {limit} (`snapshot_limit`)");
        Err(HandlerError { message, retry: Retry::Never, panicked: false })
    }
}

impl fmt::Debug for StateSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot(schema {}, {} bytes)", self.schema, self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_larger_than_the_limit_is_refused_with_both_numbers() {
        let snapshot = StateSnapshot { schema: 1, bytes: vec![0; 11] };
        assert_eq!(snapshot.clone().within(11).unwrap(), snapshot);
        let error = snapshot.within(10).unwrap_err().message;
        assert!(error.contains("11 bytes, more than 10 (`snapshot_limit`)"), "{error}");
    }
}
