//! Child process: a process of the same binary that is sure to end with its handle.

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

use crate::ipc::spawn_request::WORKER_OPTION;

/// The stack of the thread that starts and reaps the child, in bytes.
const STACK_BYTES: usize = 256 << 10;

/// Handle of a child process. Dropping it kills the process.
pub(super) struct ChildProcess {
    pid: Pid,
    /// Whether it was reaped: its id may then be that of another process.
    reaped: Arc<Mutex<bool>>,
    exited: oneshot::Receiver<io::Result<ExitStatus>>,
    status: Option<io::Result<ExitStatus>>,
}

impl ChildProcess {
    /// Starts the process, with `socket` as its standard input, and returns its output. The thread that starts it stays until it has
    /// ended: its parent-death signal is tied to that thread.
    pub(super) async fn start(name: String, socket: UnixStream) -> io::Result<(Self, PipeReader)> {
        let (output, writer) = io::pipe()?;
        let mut command = Command::new(program()?);
        command.arg(WORKER_OPTION).arg(std::process::id().to_string());
        // A group of its own: what a terminal sends to the host's is for the host.
        command.process_group(0).stdin(OwnedFd::from(socket)).stdout(writer.try_clone()?).stderr(Stdio::from(writer));
        let (reaped, (started, starting), (ended, exited)) =
            (Arc::new(Mutex::new(false)), oneshot::channel(), oneshot::channel());
        let reaping = Arc::clone(&reaped);
        thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(move || {
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
        Ok((Self { pid, reaped, exited, status: None }, output))
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Kills it, and all that it has started in its group.
    pub(super) fn kill(&self) {
        kill_group(self.pid, &self.reaped);
    }

    /// Waits until it has ended. Cancel safe.
    pub(super) async fn ended(&mut self) {
        if self.status.is_none() {
            self.status = Some((&mut self.exited).await.map_err(io::Error::other).flatten());
        }
    }

    /// Waits until it has ended, and returns its exit status. To be called once.
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

/// Waits until the child has ended, and reaps it.
fn reap(mut child: Child, reaped: &Mutex<bool>) -> io::Result<ExitStatus> {
    let pid = Pid::from_child(&child);
    // Not reaped yet, so that its process group cannot be that of another.
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {}
    kill_group(pid, reaped);
    let mut reaped = reaped.lock();
    *reaped = true;
    child.wait()
}

fn kill_group(pid: Pid, reaped: &Mutex<bool>) {
    let reaped = reaped.lock();
    if !*reaped {
        // An error means that no process is left.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}
