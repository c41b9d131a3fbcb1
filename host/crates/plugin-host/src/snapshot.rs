//! What one version of a worker tells the next.

use std::fmt;

use mshost_plugin_api::Retry;

use super::HandlerError;

/// The state of a worker. `Debug` leaves the bytes out, which may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The schema that the plugin gave it.
    pub schema: u32,
    /// The state as the plugin's side wrote it; the host does not look into it.
    pub bytes: Vec<u8>,
}

impl Snapshot {
    /// Itself, unless it is larger than `limit` bytes: a plugin need not have kept to the limit.
    pub(super) fn within(self, limit: u64) -> Result<Self, HandlerError> {
        let size = self.bytes.len() as u64;
        if size <= limit {
            return Ok(self);
        }
        let message = format!("the snapshot has {size} bytes, more than {limit} (`snapshot_limit`)");
        Err(HandlerError { message, retry: Retry::Never, panicked: false })
    }
}

impl fmt::Debug for Snapshot {
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
        let snapshot = Snapshot { schema: 1, bytes: vec![0; 11] };
        assert_eq!(snapshot.clone().within(11).unwrap(), snapshot);
        let error = snapshot.within(10).unwrap_err().message;
        assert!(error.contains("11 bytes, more than 10 (`snapshot_limit`)"), "{error}");
    }
}
