//! A process of the same binary, and the certainty that it ends.

use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;

use mshost_plugin_host::program;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::sync::oneshot;

use super::super::child::WORKER_OPTION;

/// Enough for what the thread does.
const STACK: usize = 256 << 10;

/// A running child. Dropping this kills it.
pub(super) struct ChildProcess {
    pid: Pid,
    /// Its number may be given to another process.
    reaped: Arc<Mutex<bool>>,
    exited: oneshot::Receiver<io::Result<ExitStatus>>,
    status: Option<io::Result<ExitStatus>>,
}

impl ChildProcess {
    /// Starts it, with `socket` as its standard input; gives what it writes. The thread that starts it stays until it has ended: to
    /// the kernel its parent is a thread, and with that it would be killed.
    pub(super) async fn start(name: String, socket: UnixStream) -> io::Result<(Self, PipeReader)> {
        let (said, writer) = io::pipe()?;
        let mut command = Command::new(program()?);
        command.arg(WORKER_OPTION).arg(std::process::id().to_string());
        // A group of its own: what a terminal sends to the host's is for the host.
        command.process_group(0).stdin(OwnedFd::from(socket)).stdout(writer.try_clone()?).stderr(Stdio::from(writer));
        let (reaped, (started, starting), (ended, exited)) =
            (Arc::new(Mutex::new(false)), oneshot::channel(), oneshot::channel());
        let reaping = Arc::clone(&reaped);
        thread::Builder::new().name(name).stack_size(STACK).spawn(move || {
            let spawned = command.spawn();
            // With it our copies of its descriptors are closed.
            drop(command);
            match spawned {
                Ok(child) => {
                    let _ = started.send(Ok(Pid::from_child(&child)));
                    let _ = ended.send(reap(child, &reaping));
                }
                Err(error) => drop(started.send(Err(error))),
            }
        })?;
        let pid = starting.await.map_err(io::Error::other)??;
        Ok((Self { pid, reaped, exited, status: None }, said))
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Kills it, and whatever it has started in its group.
    pub(super) fn kill(&self) {
        kill_group(self.pid, &self.reaped);
    }

    /// Waits until it has ended. Cancel safe.
    pub(super) async fn ended(&mut self) {
        if self.status.is_none() {
            self.status = Some((&mut self.exited).await.map_err(io::Error::other).flatten());
        }
    }

    /// Waits until it has ended, and says how.
    pub(super) async fn status(&mut self) -> io::Result<ExitStatus> {
        self.ended().await;
        self.status.take().unwrap_or_else(|| Err(io::Error::other("it was asked for twice")))
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until the child has ended, and takes it off the kernel's list.
fn reap(mut child: Child, reaped: &Mutex<bool>) -> io::Result<ExitStatus> {
    let pid = Pid::from_child(&child);
    // It stays on the list for a moment, so that its group cannot be another's yet.
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {}
    kill_group(pid, reaped);
    let mut reaped = reaped.lock();
    *reaped = true;
    child.wait()
}

fn kill_group(pid: Pid, reaped: &Mutex<bool>) {
    let reaped = reaped.lock();
    if !*reaped {
        // An error means that nobody is left.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}
