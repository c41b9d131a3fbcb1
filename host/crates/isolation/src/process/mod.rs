//! The host's side of a worker that runs in a process of its own.

mod cgroup;
mod child_process;
mod ending;
mod entering;
mod heard;
mod watch;
mod words;

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
use mshost_worker::{Elsewhere, Entrance, Listeners, Order, StartFailure, Surroundings, Worker, WorkerState};
use tokio::time::MissedTickBehavior;

use self::cgroup::Cgroup;
use self::child_process::ChildProcess;
use self::ending::Cause;
use self::entering::Beside;
use self::heard::Heard;
use self::watch::{LOOK, Look, Phase, Watch};
use self::words::LastWords;
use super::charge::Charge;
use super::link::LinkError;
use super::message::{Notice, Reply, Request};
use super::servant::{Rights, Servant};

/// How long a child may take to load its plugin, which has been tried before.
const LOAD_LIMIT: Duration = Duration::from_secs(10);

/// How long a child may take to read what it is to do.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// How long the rest of what a child has said may take to be done, once it has ended.
const AFTERWARDS: Duration = Duration::from_secs(30);

/// The version of a plugin that a child is to run.
#[derive(Debug, Clone)]
pub struct Version {
    /// Its number.
    pub generation: GenerationId,
    /// The plugin.
    pub plugin: PluginName,
    /// The host's copy of its file.
    pub copy: Arc<ShadowCopy>,
}

/// Starts a worker in a process of its own; it is not ready yet.
///
/// # Errors
/// Where the worker type is too long for an id.
pub fn spawn(
    version: Version,
    spec: Arc<WorkerSpec>,
    listeners: Listeners,
    surroundings: Surroundings,
    entrance: Entrance,
) -> Result<Worker, StartFailure> {
    let (worker, elsewhere) = Worker::elsewhere(&spec, &listeners, &entrance)?;
    tokio::spawn(oversee(Overseen { version, spec, listeners, surroundings, entrance }, elsewhere));
    Ok(worker)
}

struct Overseen {
    version: Version,
    spec: Arc<WorkerSpec>,
    listeners: Listeners,
    surroundings: Surroundings,
    entrance: Entrance,
}

async fn oversee(overseen: Overseen, mut elsewhere: Elsewhere) {
    let worker = WorkerRef::from(elsewhere.id.clone());
    let outcome = overseen.run(&mut elsewhere).await;
    let state = match outcome {
        Ok(()) => WorkerState::Stopped,
        Err(failure) => {
            // What it could not say itself; whoever hears it twice does not mind.
            let farewell = overseen.surroundings.bus.publish(Notification::Del(worker)).await;
            drop(farewell);
            WorkerState::Failed(StartFailure(failure))
        }
    };
    elsewhere.state.send_replace(state);
}

impl Overseen {
    /// Runs the child to its end.
    async fn run(&self, elsewhere: &mut Elsewhere) -> Result<(), String> {
        let failed = |error: io::Error| format!("no process for it: {error}");
        let limits = self.spec.isolation.limits();
        let cgroup = tokio::task::spawn_blocking(move || Cgroup::create(&limits));
        let cgroup = cgroup.await.map_err(io::Error::other).map_err(failed)?;
        let cgroup = cgroup.map_err(|why| format!("no process for it: {why}"))?;
        let (socket, theirs) = UnixStream::pair().map_err(failed)?;
        let name = format!("{}-child", self.version.plugin);
        let (mut child, said) = ChildProcess::start(name, theirs).await.map_err(failed)?;
        // It waits for what it is to do: nothing of its plugin has run.
        let cgroup = match cgroup {
            Some(cgroup) => cgroup.with(child.pid()).map_err(|why| format!("no process for it: {why}"))?,
            None => None,
        };
        elsewhere.progress.runs_in(ProcessStatus { pid: child.pid(), limits: in_force(&self.spec, cgroup.as_ref()) });
        tracing::debug!(target: "mshost::isolation", worker = %elsewhere.id, pid = child.pid(), "a process of its own");
        let words = LastWords::default();
        let (id, plugin) = (elsewhere.id.clone(), self.version.plugin.clone());
        let passing = tokio::spawn(words::pass_on(said, id, plugin, words.clone()));
        let charged = self.charge(elsewhere, socket).await;
        let end = match charged {
            Ok(socket) => self.attend(elsewhere, socket, &mut child).await,
            // How it ended says more than that it did not read.
            Err(error) => End { told: None, killed: None, fault: Some(error.to_string()) },
        };
        if end.told.is_none() {
            child.kill();
        }
        let status = child.status().await;
        let is_over_memory = cgroup.as_ref().is_some_and(Cgroup::is_over_memory);
        if let Some(cgroup) = cgroup {
            cgroup.remove().await;
        }
        // Whoever else has the pipe may keep it.
        let _ = tokio::time::timeout(Duration::from_secs(1), passing).await;
        if let Some(told) = end.told {
            return told;
        }
        let status = status.map_err(|error| format!("its process cannot be waited for: {error}"))?;
        let (cause, text) = match (end.killed, end.fault) {
            // What was cut off, or did not come in time, was so for that.
            _ if is_over_memory => ending::beyond_cgroup_memory(self.spec.isolation, words.get().as_deref()),
            (Some(why), _) => (Cause::Stuck, format!("its process was killed, since {why}")),
            (None, Some(fault)) => (Cause::Exit, format!("its process was ended: {fault}")),
            (None, None) => ending::explain(status, self.spec.isolation, words.get().as_deref()),
        };
        let labels = [&*self.spec.worker_type, cause.name()];
        self.surroundings.metrics.process_deaths.with_label_values(&labels).inc();
        Err(text)
    }

    /// Tells the child what to do.
    async fn charge(&self, elsewhere: &Elsewhere, socket: UnixStream) -> io::Result<UnixStream> {
        let Version { generation, plugin, copy } = &self.version;
        let charge = Charge {
            worker: elsewhere.id.clone(),
            spec: (*self.spec).clone(),
            plugin: plugin.clone(),
            generation: *generation,
            library: std::path::absolute(copy.path())?,
            original: copy.original().to_owned(),
            host: self.surroundings.host.to_string(),
            codec: self.surroundings.bus.codec() as u8,
            message_bytes: self.surroundings.message_bytes,
            snapshot_limit: self.surroundings.snapshot_limit,
            entrance: entering::charged(&self.entrance),
            load_limit: LOAD_LIMIT,
            log_level: log_level(),
            sockets: self.listeners.sockets().map(|(name, _)| name.to_owned()).collect(),
        };
        let listeners = self.listeners.clone();
        let sending = tokio::task::spawn_blocking(move || {
            socket.set_write_timeout(Some(HANDSHAKE))?;
            let lent: Vec<_> = listeners.sockets().map(|(_, socket)| socket).collect();
            charge.send(&socket, &lent)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        sending.await.map_err(io::Error::other)?
    }

    /// Serves and watches the child until it has said its last word, or has ended.
    async fn attend(&self, elsewhere: &mut Elsewhere, socket: UnixStream, child: &mut ChildProcess) -> End {
        let stream = match tokio::net::UnixStream::from_std(socket) {
            Ok(stream) => stream,
            Err(error) => return End { told: None, killed: None, fault: Some(error.to_string()) },
        };
        let Surroundings { bus, metrics, closing, snapshot_limit, .. } = &self.surroundings;
        let Elsewhere { id, state, progress, stop, admitted, orders, .. } = elsewhere;
        let worker = WorkerRef::from(id.clone());
        let rights = Rights::Worker { worker, reach: self.surroundings.reach() };
        let servant = Servant::new(Arc::clone(bus), rights, Some(Arc::clone(progress)));
        let outbound = servant.outbound();
        let heard = Heard::new(closing.busy(), *snapshot_limit);
        let enter = |entered| drop(state.send_replace(entered));
        let hear = |request, tail: Bytes| match request {
            Request::Worker(news) => heard.note(news, &tail, enter, progress, metrics, &outbound),
            other => Err(LinkError::Malformed(format!("{other:?}"))),
        };
        let serving = servant.serve(stream, self.surroundings.message_bytes, hear);
        let (asked, stopped) = (closing.asked(), stop.cancelled());
        tokio::pin!(serving, asked, stopped);
        let mut watch = Watch::new(&self.spec, LOAD_LIMIT);
        let mut beside = Beside::of(&self.entrance);
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
                    // Where it is gone, that is heard of soon.
                    let _ = outbound.tell(&Reply::Worker(Notice::Stop));
                }
                () = &mut asked, if !finishing => {
                    finishing = true;
                    let _ = outbound.tell(&Reply::Worker(Notice::Finish));
                }
                Some(order) = orders.recv() => match order {
                    Order::HandOver(successor) => {
                        heard.is_to_hand_over(successor);
                        let _ = outbound.tell(&Reply::Worker(Notice::HandOver));
                    }
                    Order::GoOn => drop(outbound.tell(&Reply::Worker(Notice::GoOn))),
                },
                state = entering::admission(admitted) => entering::admit(state, &outbound),
                () = Beside::follow(&mut beside, &outbound) => {}
                _ = looks.tick() => {
                    let phase = match () {
                        () if served.is_some() || heard.end.lock().is_some() => Phase::Leaving,
                        () if stopping => Phase::Stopping,
                        // With its first job it may be stuck before it could say that it has started.
                        () if *state.borrow() == WorkerState::Starting && progress.in_flight() == 0 => {
                            Phase::Starting
                        }
                        () => Phase::Running,
                    };
                    match watch.look(phase, &heard.answered) {
                        Look::Ask(question) => drop(outbound.tell(&Reply::Worker(Notice::Ping(question)))),
                        Look::Nothing => {}
                        Look::Kill(why) => {
                            killed.get_or_insert(why);
                            child.kill();
                        }
                    }
                }
            }
        }
        // What it has said before it ended counts.
        let fault = match served {
            Some(result) => result.err(),
            None => tokio::time::timeout(AFTERWARDS, serving).await.unwrap_or(Ok(())).err(),
        };
        let told = heard.end.lock().take();
        End { told, killed, fault: fault.map(|error| error.to_string()) }
    }
}

/// The limits of a process, each with what enforces it.
fn in_force(spec: &WorkerSpec, cgroup: Option<&Cgroup>) -> Vec<String> {
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

/// How a child was attended to.
struct End {
    /// What it said itself of its end.
    told: Option<Result<(), String>>,
    /// Why it was killed.
    killed: Option<String>,
    /// What was wrong with what it said.
    fault: Option<String>,
}
