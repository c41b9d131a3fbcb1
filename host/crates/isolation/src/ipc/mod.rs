//! IPC between a child and its host: a socket ([`connection`]) with framed messages both ways ([`message`]).
//!
//! The child has the client, a bus over the connection; the host has the server. The first message is the [`spawn_request`], and a
//! state is sent in [`state_chunks`]. Both ends are the same binary, so the messages have no version.

pub(crate) mod client;
mod connection;
mod frame;
pub(crate) mod ipc_error;
pub(crate) mod log_record;
pub(crate) mod message;
pub(crate) mod outbound_queue;
pub(crate) mod server;
pub(crate) mod spawn_request;
pub(crate) mod state_chunks;
