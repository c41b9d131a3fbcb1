//! The host's side of a child: starts its process, serves and watches it, and reports its end.

mod cgroup;
mod child_output;
mod child_process;
mod child_reports;
mod exit_cause;
mod liveness;
mod start_mode;

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mshost_bus::Notification;
use mshost_core::ids::{GenerationId, PluginName, WorkerRef};
use mshost_core::status::ProcessStatus;
use mshost_plugin_host::{ShadowCopy, log_level};
use mshost_topology::{ProcessLimits, Sandbox, WorkerSpec, format_size};
use mshost_worker::{
    HostContext, Listeners, RemoteWorker, StartFailure, StartMode, Worker, WorkerRequest, WorkerState,
};
use tokio::time::MissedTickBehavior;

use self::cgroup::Cgroup;
use self::child_output::LastLine;
use self::child_process::ChildProcess;
use self::child_reports::ChildReports;
use self::exit_cause::ExitCause;
use self::liveness::{CHECK_INTERVAL, ChildPhase, LivenessAction, LivenessCheck};
use self::start_mode::BaselineProgress;
use crate::ipc::message::{HostCommand, HostMessage};
use crate::ipc::server::{BusPermissions, IpcServer};
use crate::ipc::spawn_request::SpawnRequest;

/// How long a child may take to load its plugin, which the probe has loaded before.
const LOAD_LIMIT: Duration = Duration::from_secs(10);

/// How long a child may take to read the spawn request.
const SPAWN_REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// How long the last messages of a child may take to be carried out, once it has ended.
const LAST_MESSAGES_LIMIT: Duration = Duration::from_secs(30);

/// A version of a plugin, for a child to run.
#[derive(Debug, Clone)]
pub struct PluginVersion {
    /// The number of its generation.
    pub generation: GenerationId,
    /// The plugin.
    pub plugin: PluginName,
    /// The host's copy of its file.
    pub copy: Arc<ShadowCopy>,
}

/// Starts a worker in a process of its own. It is not ready when this returns.
///
/// # Errors
/// Where the worker type is too long for an id.
pub fn spawn(
    version: PluginVersion,
    spec: Arc<WorkerSpec>,
    listeners: Listeners,
    host_context: HostContext,
    start_mode: StartMode,
) -> Result<Worker, StartFailure> {
    let (worker, remote) = Worker::remote(&spec, &listeners, &start_mode)?;
    tokio::spawn(supervise(ChildSupervisor { version, spec, listeners, host_context, start_mode }, remote));
    Ok(worker)
}

/// What a child is started with, and the host services that it uses.
struct ChildSupervisor {
    version: PluginVersion,
    spec: Arc<WorkerSpec>,
    listeners: Listeners,
    host_context: HostContext,
    start_mode: StartMode,
}

async fn supervise(supervisor: ChildSupervisor, mut remote: RemoteWorker) {
    let worker = WorkerRef::from(remote.id.clone());
    let outcome = supervisor.run(&mut remote).await;
    let state = match outcome {
        Ok(()) => WorkerState::Stopped,
        Err(failure) => {
            // What it could not publish itself; a second notification is harmless.
            let published = supervisor.host_context.bus.publish(Notification::Del(worker)).await;
            drop(published);
            WorkerState::Failed(StartFailure(failure))
        }
    };
    remote.state.send_replace(state);
}

impl ChildSupervisor {
    /// Runs the child to its end.
    async fn run(&self, remote: &mut RemoteWorker) -> Result<(), String> {
        let failed = |error: io::Error| format!("no process for it: {error}");
        let limits = self.spec.isolation.limits();
        let cgroup = tokio::task::spawn_blocking(move || Cgroup::create(&limits));
        let cgroup = cgroup.await.map_err(io::Error::other).map_err(failed)?;
        let cgroup = cgroup.map_err(|why| format!("no process for it: {why}"))?;
        let (socket, theirs) = UnixStream::pair().map_err(failed)?;
        let name = format!("{}-child", self.version.plugin);
        let (mut child, output) = ChildProcess::start(name, theirs).await.map_err(failed)?;
        // It waits for its spawn request: no code of its plugin has run.
        let cgroup = match cgroup {
            Some(cgroup) => cgroup.with_process(child.pid()).map_err(|why| format!("no process for it: {why}"))?,
            None => None,
        };
        remote
            .progress
            .set_process(ProcessStatus { pid: child.pid(), limits: enforced_limits(&self.spec, cgroup.as_ref()) });
        tracing::debug!(target: "mshost::isolation", worker = %remote.id, pid = child.pid(), "a process of its own");
        let last_line = LastLine::default();
        let (id, plugin) = (remote.id.clone(), self.version.plugin.clone());
        let forwarding = tokio::spawn(child_output::forward_output(output, id, plugin, last_line.clone()));
        let sent = self.send_spawn_request(remote, socket).await;
        let end = match sent {
            Ok(socket) => self.serve(remote, socket, &mut child).await,
            // Its exit status says more than that it did not read.
            Err(error) => ServeEnd { reported: None, killed: None, protocol_error: Some(error.to_string()) },
        };
        if end.reported.is_none() {
            child.kill();
        }
        let status = child.status().await;
        let is_over_memory = cgroup.as_ref().is_some_and(Cgroup::is_over_memory);
        if let Some(cgroup) = cgroup {
            cgroup.remove().await;
        }
        // A process that it has started may keep the pipe open.
        let _ = tokio::time::timeout(Duration::from_secs(1), forwarding).await;
        if let Some(reported) = end.reported {
            return reported;
        }
        let status = status.map_err(|error| format!("its process cannot be waited for: {error}"))?;
        let (cause, text) = match (end.killed, end.protocol_error) {
            // A connection that broke, or a kill by the host, is a consequence.
            _ if is_over_memory => exit_cause::beyond_cgroup_memory(self.spec.isolation, last_line.get().as_deref()),
            (Some(why), _) => (ExitCause::Stuck, format!("its process was killed, since {why}")),
            (None, Some(protocol_error)) => (ExitCause::Exit, format!("its process was ended: {protocol_error}")),
            (None, None) => exit_cause::explain(status, self.spec.isolation, last_line.get().as_deref()),
        };
        let labels = [&*self.spec.worker_type, cause.name()];
        self.host_context.metrics.process_deaths.with_label_values(&labels).inc();
        Err(text)
    }

    /// Sends the spawn request.
    async fn send_spawn_request(&self, remote: &RemoteWorker, socket: UnixStream) -> io::Result<UnixStream> {
        let PluginVersion { generation, plugin, copy } = &self.version;
        let request = SpawnRequest {
            worker: remote.id.clone(),
            spec: (*self.spec).clone(),
            plugin: plugin.clone(),
            generation: *generation,
            library: std::path::absolute(copy.path())?,
            original: copy.original().to_owned(),
            host: self.host_context.host_name.to_string(),
            codec: self.host_context.bus.codec() as u8,
            message_bytes: self.host_context.message_bytes,
            snapshot_limit: self.host_context.snapshot_limit,
            start_mode: start_mode::for_child(&self.start_mode),
            load_limit: LOAD_LIMIT,
            log_level: log_level(),
            sockets: self.listeners.sockets().map(|(name, _)| name.to_owned()).collect(),
        };
        let listeners = self.listeners.clone();
        let sending = tokio::task::spawn_blocking(move || {
            socket.set_write_timeout(Some(SPAWN_REQUEST_LIMIT))?;
            let lent: Vec<_> = listeners.sockets().map(|(_, socket)| socket).collect();
            request.send(&socket, &lent)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        sending.await.map_err(io::Error::other)?
    }

    /// Serves and watches the child until its process has ended.
    async fn serve(&self, remote: &mut RemoteWorker, socket: UnixStream, child: &mut ChildProcess) -> ServeEnd {
        let stream = match tokio::net::UnixStream::from_std(socket) {
            Ok(stream) => stream,
            Err(error) => return ServeEnd { reported: None, killed: None, protocol_error: Some(error.to_string()) },
        };
        let HostContext { bus, metrics, shutdown: closing, snapshot_limit, .. } = &self.host_context;
        let RemoteWorker { id, state, progress, stop, admitted, requests, .. } = remote;
        let worker = WorkerRef::from(id.clone());
        let permissions = BusPermissions::Worker { worker, send_admission: self.host_context.send_admission() };
        let server = IpcServer::new(Arc::clone(bus), permissions, Some(Arc::clone(progress)));
        let outbound = server.outbound();
        let reports = ChildReports::new(closing.token(), *snapshot_limit);
        let enter = |entered| drop(state.send_replace(entered));
        let on_report = |report, tail: Bytes| reports.apply(report, &tail, enter, progress, metrics, &outbound);
        let serving = server.serve(stream, self.host_context.message_bytes, on_report);
        let (asked, stopped) = (closing.requested(), stop.cancelled());
        tokio::pin!(serving, asked, stopped);
        let mut liveness = LivenessCheck::new(&self.spec, LOAD_LIMIT);
        let mut baseline = BaselineProgress::of(&self.start_mode);
        let mut checks = tokio::time::interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut stopping, mut finishing, mut served, mut ended) = (false, false, None, false);
        let mut killed = None;
        while !ended {
            tokio::select! {
                result = &mut serving, if served.is_none() => {
                    if let Err(error) = &result {
                        tracing::error!(target: "mshost::isolation", worker = %id, "what it says cannot be used: {error}");
                        child.kill();
                    }
                    served = Some(result);
                }
                _ = child.ended() => ended = true,
                () = &mut stopped, if !stopping => {
                    stopping = true;
                    // Lost where it is gone, which shows soon.
                    let _ = outbound.send(&HostMessage::Command(HostCommand::Stop));
                }
                () = &mut asked, if !finishing => {
                    finishing = true;
                    let _ = outbound.send(&HostMessage::Command(HostCommand::Finish));
                }
                Some(request) = requests.recv() => match request {
                    WorkerRequest::HandOver(successor) => {
                        reports.expect_state(successor);
                        let _ = outbound.send(&HostMessage::Command(HostCommand::HandOver));
                    }
                    WorkerRequest::Resume => drop(outbound.send(&HostMessage::Command(HostCommand::CancelHandover))),
                },
                state = start_mode::wait_for_admission(admitted) => start_mode::admit(state, &outbound),
                () = BaselineProgress::follow(&mut baseline, &outbound) => {}
                _ = checks.tick() => {
                    let phase = match () {
                        () if served.is_some() || reports.end.lock().is_some() => ChildPhase::Leaving,
                        () if stopping => ChildPhase::Stopping,
                        // With its first job it may be stuck before it could say that it has started.
                        () if *state.borrow() == WorkerState::Starting && progress.in_flight() == 0 => {
                            ChildPhase::Starting
                        }
                        () => ChildPhase::Running,
                    };
                    match liveness.check(phase, &reports.last_pong) {
                        LivenessAction::Ping(number) => drop(outbound.send(&HostMessage::Command(HostCommand::Ping(number)))),
                        LivenessAction::Nothing => {}
                        LivenessAction::Kill(why) => {
                            killed.get_or_insert(why);
                            child.kill();
                        }
                    }
                }
            }
        }
        // What it sent before it ended still counts.
        let protocol_error = match served {
            Some(result) => result.err(),
            None => tokio::time::timeout(LAST_MESSAGES_LIMIT, serving).await.unwrap_or(Ok(())).err(),
        };
        let reported = reports.end.lock().take();
        ServeEnd { reported, killed, protocol_error: protocol_error.map(|error| error.to_string()) }
    }
}

/// The limits of a process, each with what enforces it.
fn enforced_limits(spec: &WorkerSpec, cgroup: Option<&Cgroup>) -> Vec<String> {
    let ProcessLimits { memory, cpu_time, open_files, milli_cpus, tasks } = spec.isolation.limits();
    let sandbox = spec.sandbox.as_ref().map(|Sandbox { write, connect, bind }| {
        format!("sandbox: writes {write:?}, connects to TCP {connect:?}, listens on TCP {bind:?} (Landlock)")
    });
    let by = if cgroup.is_some_and(Cgroup::holds_memory) { "memory.max, RLIMIT_DATA" } else { "RLIMIT_DATA" };
    let memory = memory.map(|bytes| format!("memory {} ({by})", format_size(bytes)));
    let cpu_time = cpu_time.map(|time| format!("cpu_time {} (RLIMIT_CPU)", humantime::format_duration(time)));
    let open_files = open_files.map(|files| format!("open_files {files} (RLIMIT_NOFILE)"));
    let cpus = milli_cpus.map(|milli| format!("cpus {} (cpu.max)", f64::from(milli) / 1_000.0));
    let tasks = tasks.map(|tasks| format!("tasks {tasks} (pids.max)"));
    [memory, cpu_time, open_files, cpus, tasks, sandbox].into_iter().flatten().collect()
}

/// How serving a child ended.
struct ServeEnd {
    /// The end of the worker, as the child reported it.
    reported: Option<Result<(), String>>,
    /// Why the host killed it.
    killed: Option<String>,
    /// How it broke the protocol.
    protocol_error: Option<String>,
}
