//! What a child is started with: one message, ahead of all others, with the sockets that it is lent.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use mshost_core::ids::{GenerationId, PluginName, WorkerId};
use mshost_topology::WorkerSpec;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

/// The most sockets of one worker, which the topology keeps to.
const MAX_SOCKETS: usize = 64;

/// The longest charge, in bytes; a worker's whole config is in it.
const MAX_BYTES: usize = 64 << 20;

/// When the worker joins the bus, and for what: see [`mshost_worker::Entrance`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Entrance {
    AtOnce,
    Admitted,
    /// The share of the jobs, from 0 to 1.
    OnTrial(f64),
}

/// See the module.
#[derive(Serialize, Deserialize)]
pub(super) struct Charge {
    pub(super) worker: WorkerId,
    pub(super) spec: WorkerSpec,
    pub(super) plugin: PluginName,
    pub(super) generation: GenerationId,
    /// The host's copy of the plugin's file.
    pub(super) library: PathBuf,
    /// The file, as the user knows it.
    pub(super) original: PathBuf,
    /// The host's name.
    pub(super) host: String,
    /// The number of the bus's codec.
    pub(super) codec: u8,
    pub(super) message_bytes: usize,
    /// The most bytes of a state.
    pub(super) snapshot_limit: u64,
    pub(super) entrance: Entrance,
    /// How long loading the plugin may take.
    pub(super) load_limit: Duration,
    /// What is to be logged, from 0 for nothing to 5 for everything.
    pub(super) log_level: u8,
    /// The names of the sockets, in the order in which they are lent.
    pub(super) sockets: Vec<String>,
}

impl Charge {
    /// Sends it. Blocks while the child does not read.
    pub(super) fn send(&self, socket: &UnixStream, lent: &[BorrowedFd<'_>]) -> io::Result<()> {
        let body = serde_json::to_vec(self)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !lent.is_empty() && !control.push(SendAncillaryMessage::ScmRights(lent)) {
            return Err(io::Error::other("too many sockets"));
        }
        let length = u32::try_from(body.len()).map_err(io::Error::other)?.to_be_bytes();
        // The sockets need a byte to travel with; four are never split.
        rustix::net::sendmsg(socket, &[IoSlice::new(&length)], &mut control, SendFlags::NOSIGNAL)?;
        (&*socket).write_all(&body)
    }

    /// Receives it, with its sockets by their names.
    pub(super) fn receive(socket: &UnixStream) -> io::Result<(Self, BTreeMap<String, TcpListener>)> {
        let mut length = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut length)];
        let received = rustix::net::recvmsg(socket.as_fd(), &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        if received.bytes < 4 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut lent = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(sockets) = message {
                lent.extend(sockets);
            }
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_BYTES {
            return Err(io::Error::other(format!("a charge of {length} bytes")));
        }
        let mut body = vec![0; length];
        (&*socket).read_exact(&mut body)?;
        let charge: Self = serde_json::from_slice(&body)?;
        let sockets = charge.sockets.iter().cloned().zip(lent.into_iter().map(TcpListener::from)).collect();
        Ok((charge, sockets))
    }
}
