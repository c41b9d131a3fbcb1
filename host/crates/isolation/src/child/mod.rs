//! The child: a process that runs one worker of one plugin, and nothing else.

mod resource_limits;
mod sandbox;
mod stderr_log;

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use mshost_bus::{Absent, Bus, BusState};
use mshost_core::metrics::{Exporter, Metrics};
use mshost_manager::Registry;
use mshost_plugin_host::{Generation, LoadOptions, ShadowCopy, StateSnapshot};
use mshost_worker::{
    AbandonedThreads, HostContext, HostShutdown, JobShare, Listeners, NotificationRouter, Progress, StartFailure,
    StartMode, StartingTypes, Worker, WorkerState,
};
use rustix::process::Signal;
use tokio::sync::{mpsc, oneshot};

use crate::ipc::client::{BusParameters, RemoteBus, WorkerCommand};
use crate::ipc::message::{ChildReport, codec_of};
use crate::ipc::spawn_request::{IpcStartMode, SpawnRequest};
use crate::ipc::state_chunks::state_chunks;

/// How often measurements are sent to the host.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How long the plugin's threads may take to end.
const RETIRE_LIMIT: Duration = Duration::from_secs(3);

/// The main function of a child; `parent` is the host's process id as text. Errors before it is connected are written to
/// standard error, which the host reads.
#[must_use]
pub fn worker_main(parent: &str) -> ExitCode {
    let end = prepare(parent).and_then(|(socket, request, sockets)| {
        stderr_log::init(request.log_level);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(run(socket, request, sockets))
    });
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            stderr_log::write_line(&error);
            ExitCode::FAILURE
        }
    }
}

/// The socket to the host, the spawn request, and the listening sockets by name.
type Prepared = (UnixStream, SpawnRequest, BTreeMap<String, TcpListener>);

/// Has the process end with its host, receives the spawn request, and sets limits and sandbox.
fn prepare(parent: &str) -> Result<Prepared, String> {
    let failed = |what: &'static str| move |error: std::io::Error| format!("cannot {what}: {error}");
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| failed("be ended with the host")(error.into()))?;
    rustix::thread::set_no_new_privs(true).map_err(|error| failed("keep to its rights")(error.into()))?;
    // The host may have died before that.
    if rustix::process::getppid().map(|pid| pid.as_raw_nonzero().to_string()).as_deref() != Some(parent) {
        return Err("the host is gone".to_owned());
    }
    let socket = std::io::stdin().as_fd().try_clone_to_owned().map_err(failed("take the socket"))?;
    // The plugin must not read from the socket.
    let nothing = File::open("/dev/null").map_err(failed("open /dev/null"))?;
    rustix::stdio::dup2_stdin(nothing).map_err(|error| failed("close standard input")(error.into()))?;
    let socket = UnixStream::from(socket);
    let (request, sockets) = SpawnRequest::receive(&socket).map_err(failed("read from the host what to do"))?;
    resource_limits::apply(request.spec.isolation)?;
    request.spec.sandbox.as_ref().map_or(Ok(()), sandbox::apply)?;
    Ok((socket, request, sockets))
}

/// Loads the plugin, connects to the host and runs the worker.
async fn run(socket: UnixStream, request: SpawnRequest, sockets: BTreeMap<String, TcpListener>) -> Result<(), String> {
    let metrics = Metrics::new().map_err(|error| error.to_string())?;
    let (baseline, limit) = (Arc::<Progress>::default(), request.snapshot_limit);
    let parameters = BusParameters {
        codec: codec_of(request.codec).map_err(|error| error.to_string())?,
        message_bytes: request.message_bytes,
    };
    socket.set_nonblocking(true).map_err(|error| error.to_string())?;
    let shadow = ShadowCopy::lent(request.original.clone(), request.library.clone());
    let options = LoadOptions { limit: request.load_limit, ..LoadOptions::new(Arc::clone(&metrics)) };
    let generation = match Generation::load(request.generation, request.plugin.clone(), shadow, options).await {
        Ok(generation) => generation,
        Err(error) => {
            let (bus, _) = connect(socket, parameters, limit, baseline)?;
            bus.report(ChildReport::State(WorkerState::Failed(StartFailure(error.to_string()))));
            bus.close().await;
            return Ok(());
        }
    };
    // On the thread of the plugin's tasks: a received job costs no change of thread, and an answered ping means that this thread
    // is not stuck.
    let (done, connected) = oneshot::channel();
    let following = Arc::clone(&baseline);
    let connecting =
        generation.spawn(move |_| async move { drop(done.send(connect(socket, parameters, limit, following))) });
    connecting.await.map_err(|error| error.to_string())?;
    let (bus, commands) = connected.await.map_err(|error| error.to_string())??;
    let bus = Arc::new(bus);
    run_worker(&generation, &bus, commands, baseline, request, sockets, &metrics).await?;
    bus.close().await;
    drop(bus);
    generation.retire(RETIRE_LIMIT).await;
    Ok(())
}

fn connect(
    socket: UnixStream,
    parameters: BusParameters,
    snapshot_limit: u64,
    baseline: Arc<Progress>,
) -> Result<(RemoteBus, mpsc::Receiver<WorkerCommand>), String> {
    let stream = tokio::net::UnixStream::from_std(socket).map_err(|error| error.to_string())?;
    Ok(RemoteBus::connect_worker(stream, parameters, snapshot_limit, baseline))
}

/// Runs the worker to its end, and reports it to the host.
async fn run_worker(
    generation: &Generation,
    bus: &Arc<RemoteBus>,
    mut commands: mpsc::Receiver<WorkerCommand>,
    baseline: Arc<Progress>,
    request: SpawnRequest,
    sockets: BTreeMap<String, TcpListener>,
    metrics: &Arc<Metrics>,
) -> Result<(), String> {
    let closing = HostShutdown::default();
    let shared: Arc<dyn Bus> = Arc::clone(bus) as _;
    let host_context = HostContext {
        bus: Arc::clone(&shared),
        // The host knows the other workers, and checks each send.
        registry: Arc::new(Registry::new(0, Arc::clone(metrics))),
        starting_types: StartingTypes::default(),
        notifications: NotificationRouter::open(shared),
        metrics: Arc::clone(metrics),
        shutdown: closing.clone(),
        absent: Absent::default(),
        managed: false,
        snapshot_limit: request.snapshot_limit,
        message_bytes: request.message_bytes,
        host_name: request.host.as_str().into(),
    };
    let start_mode = match request.start_mode {
        IpcStartMode::Immediate => StartMode::Immediate,
        IpcStartMode::Handover => StartMode::Handover,
        IpcStartMode::Canary(of) => StartMode::Canary(JobShare { fraction: of, other: baseline }),
    };
    let (listeners, abandoned_threads, limit) =
        (Listeners::of(sockets), AbandonedThreads::default(), request.spec.abandoned_threads);
    let mut worker = Worker::spawn_as(
        request.worker,
        generation,
        Arc::new(request.spec),
        listeners,
        abandoned_threads.clone(),
        host_context,
        start_mode,
    );
    let (mut state, progress) = (worker.state(), worker.progress());
    let mut connection = bus.state();
    let mut exporter = Exporter::default();
    let mut reported_error = None;
    let mut report = || {
        let last_error = progress.last_error().map(|error| error.message);
        let new_error = (last_error != reported_error).then(|| last_error.clone()).flatten();
        reported_error = last_error;
        bus.report(ChildReport::Statistics { samples: exporter.samples(metrics), last_error: new_error });
    };
    let mut reports = tokio::time::interval(REPORT_INTERVAL);
    let (mut finishing, mut handing_over) = (tokio::task::JoinSet::new(), tokio::task::JoinSet::new());
    let end = loop {
        tokio::select! {
            biased;
            Ok(()) = state.changed() => {
                let state = state.borrow_and_update().clone();
                // The last one is reported once it has left, with the reason.
                if !matches!(state, WorkerState::Stopped | WorkerState::Failed(_)) {
                    bus.report(ChildReport::State(state));
                }
            }
            end = worker.ended() => break end,
            () = abandoned_threads.reached(limit) => {
                // The threads end with the process.
                let why = format!("{limit} handlers overran and have not come back (`abandoned_threads`)");
                break Err(StartFailure(why));
            }
            Some(command) = commands.recv() => match command {
                WorkerCommand::Stop => worker.stop(),
                WorkerCommand::Finish => {
                    let closing = closing.clone();
                    finishing.spawn(async move { closing.drain_plugins().await });
                }
                WorkerCommand::HandOver => drop(handing_over.spawn(worker.handing_over())),
                WorkerCommand::CancelHandover => worker.resume().await,
                WorkerCommand::Admit(state) => worker.admit(state),
            },
            Some(Ok(state)) = handing_over.join_next() => hand_over(bus, state),
            Some(_) = finishing.join_next() => bus.report(ChildReport::Idle),
            _ = reports.tick() => report(),
            Ok(_) = connection.wait_for(|state| *state == BusState::Closed) => return Err("the host is gone".to_owned()),
        }
    };
    report();
    let reported = end.map_or_else(WorkerState::Failed, |()| WorkerState::Stopped);
    bus.report(ChildReport::State(reported));
    Ok(())
}

/// Sends the worker's state to the host, or why there is none.
fn hand_over(bus: &RemoteBus, state: Result<StateSnapshot, StartFailure>) {
    let sent = state.map_err(|failure| failure.0).map(|snapshot| {
        let schema = snapshot.schema;
        state_chunks(snapshot).for_each(|chunk| bus.report_with(ChildReport::StateChunk, &chunk));
        schema
    });
    bus.report(ChildReport::HandoverState(sent));
}
