//! Spawn request: the first message to a child, which says what to run, with the listening sockets that it is lent.

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

/// The command-line option that makes the binary a child: the process of one worker.
pub const WORKER_OPTION: &str = "--isolated-worker";

/// The most sockets of one worker; the topology allows no more.
const MAX_SOCKETS: usize = 64;

/// The longest request, in bytes; the worker's whole config is in it.
const MAX_BYTES: usize = 64 << 20;

/// The start mode of a worker: see [`mshost_worker::StartMode`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum IpcStartMode {
    Immediate,
    Handover,
    /// The share of the jobs, from 0 to 1.
    Canary(f64),
}

/// What a child is to run.
#[derive(Serialize, Deserialize)]
pub(crate) struct SpawnRequest {
    pub(crate) worker: WorkerId,
    pub(crate) spec: WorkerSpec,
    pub(crate) plugin: PluginName,
    pub(crate) generation: GenerationId,
    /// The host's copy of the plugin's file.
    pub(crate) library: PathBuf,
    /// The file in the plugin folder, for messages.
    pub(crate) original: PathBuf,
    /// The host's name.
    pub(crate) host: String,
    /// The number of the bus's codec.
    pub(crate) codec: u8,
    pub(crate) message_bytes: usize,
    /// The most bytes of a state.
    pub(crate) snapshot_limit: u64,
    pub(crate) start_mode: IpcStartMode,
    /// How long loading the plugin may take.
    pub(crate) load_limit: Duration,
    /// The level of the log, from 0 for nothing to 5 for everything.
    pub(crate) log_level: u8,
    /// The names of the sockets, in the order in which they are lent.
    pub(crate) sockets: Vec<String>,
}

impl SpawnRequest {
    /// Sends the request. Blocks while the child does not read.
    pub(crate) fn send(&self, socket: &UnixStream, lent: &[BorrowedFd<'_>]) -> io::Result<()> {
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

    /// Receives a request, with its sockets by their names.
    pub(crate) fn receive(socket: &UnixStream) -> io::Result<(Self, BTreeMap<String, TcpListener>)> {
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
            return Err(io::Error::other(format!("a spawn request of {length} bytes")));
        }
        let mut body = vec![0; length];
        (&*socket).read_exact(&mut body)?;
        let request: Self = serde_json::from_slice(&body)?;
        let sockets = request.sockets.iter().cloned().zip(lent.into_iter().map(TcpListener::from)).collect();
        Ok((request, sockets))
    }
}
