//! Error of a connection between a child and its host.

use std::io;

/// A connection that failed, or whose other end broke the protocol.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IpcError {
    /// The error of the operating system.
    #[error("the socket fails: {0}")]
    Io(#[from] io::Error),
    /// A message longer than allowed.
    #[error("a message of {size} bytes, where at most {limit} are allowed")]
    TooLarge {
        /// Its length in bytes.
        size: usize,
        /// The most bytes.
        limit: usize,
    },
    /// Not a message of the protocol.
    #[error("not a message: {0}")]
    Malformed(String),
    /// This end is closed.
    #[error("the connection is closed")]
    Closed,
}
