//! The child: one worker of one plugin, in a process that has nothing else.

mod limits;
mod log;
mod sandbox;

pub(super) use log::{EVENT, LogLine};

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
    Closing, Entrance, Expected, Listeners, Progress, Share, StartFailure, Stragglers, Surroundings, Switchboard,
    Worker, WorkerState,
};
use rustix::process::Signal;
use tokio::sync::{mpsc, oneshot};

use super::charge::{self, Charge};
use super::message::{News, Request, WorkerNews, codec};
use super::remote::{Facts, RemoteBus, Told};
use super::snapshot::pieces;

/// The option of the binary that makes it the process of a worker.
pub const WORKER_OPTION: &str = "--isolated-worker";

/// How often the host is told what has been counted.
const REPORT: Duration = Duration::from_secs(1);

/// How long the plugin's threads may take to end.
const RETIRE_LIMIT: Duration = Duration::from_secs(3);

/// What such a process does: `parent` is the host's process id as text. What goes wrong before the host can be told is written
/// to standard error, which the host reads.
#[must_use]
pub fn worker_main(parent: &str) -> ExitCode {
    let end = prepare(parent).and_then(|(socket, charge, sockets)| {
        log::init(charge.log_level);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(live(socket, charge, sockets))
    });
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::say(&error);
            ExitCode::FAILURE
        }
    }
}

type Prepared = (UnixStream, Charge, BTreeMap<String, TcpListener>);

/// Ties the process to its host, and takes up what it is to do.
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
    // The plugin must not read from it.
    let nothing = File::open("/dev/null").map_err(failed("open /dev/null"))?;
    rustix::stdio::dup2_stdin(nothing).map_err(|error| failed("close standard input")(error.into()))?;
    let socket = UnixStream::from(socket);
    let (charge, sockets) = Charge::receive(&socket).map_err(failed("read from the host what to do"))?;
    limits::apply(charge.spec.isolation)?;
    charge.spec.sandbox.as_ref().map_or(Ok(()), sandbox::apply)?;
    Ok((socket, charge, sockets))
}

async fn live(socket: UnixStream, charge: Charge, sockets: BTreeMap<String, TcpListener>) -> Result<(), String> {
    let metrics = Metrics::new().map_err(|error| error.to_string())?;
    let (beside, limit) = (Arc::<Progress>::default(), charge.snapshot_limit);
    let facts =
        Facts { codec: codec(charge.codec).map_err(|error| error.to_string())?, message_bytes: charge.message_bytes };
    socket.set_nonblocking(true).map_err(|error| error.to_string())?;
    let shadow = ShadowCopy::lent(charge.original.clone(), charge.library.clone());
    let options = LoadOptions { limit: charge.load_limit, ..LoadOptions::new(Arc::clone(&metrics)) };
    let generation = match Generation::load(charge.generation, charge.plugin.clone(), shadow, options).await {
        Ok(generation) => generation,
        Err(error) => {
            let (bus, _) = connect(socket, facts, limit, beside)?;
            bus.tell(&Request::Worker(News::State(WorkerNews::Failed(error.to_string()))));
            bus.close().await;
            return Ok(());
        }
    };
    // On the thread of the plugin's tasks: a job that comes in costs no change of thread, and a host that is answered knows that
    // this thread is not stuck.
    let (done, connected) = oneshot::channel();
    let following = Arc::clone(&beside);
    let connecting =
        generation.spawn(move |_| async move { drop(done.send(connect(socket, facts, limit, following))) });
    connecting.await.map_err(|error| error.to_string())?;
    let (bus, told) = connected.await.map_err(|error| error.to_string())??;
    let bus = Arc::new(bus);
    work(&generation, &bus, told, beside, charge, sockets, &metrics).await?;
    bus.close().await;
    drop(bus);
    generation.retire(RETIRE_LIMIT).await;
    Ok(())
}

fn connect(
    socket: UnixStream,
    facts: Facts,
    snapshot_limit: u64,
    beside: Arc<Progress>,
) -> Result<(RemoteBus, mpsc::Receiver<Told>), String> {
    let stream = tokio::net::UnixStream::from_std(socket).map_err(|error| error.to_string())?;
    Ok(RemoteBus::connect_worker(stream, facts, snapshot_limit, beside))
}

/// Runs the worker to its end, and tells the host of it.
async fn work(
    generation: &Generation,
    bus: &Arc<RemoteBus>,
    mut told: mpsc::Receiver<Told>,
    beside: Arc<Progress>,
    charge: Charge,
    sockets: BTreeMap<String, TcpListener>,
    metrics: &Arc<Metrics>,
) -> Result<(), String> {
    let closing = Closing::default();
    let shared: Arc<dyn Bus> = Arc::clone(bus) as _;
    let surroundings = Surroundings {
        bus: Arc::clone(&shared),
        // The host knows who else is there, and looks before it sends.
        registry: Arc::new(Registry::new(0, Arc::clone(metrics))),
        expected: Expected::default(),
        switchboard: Switchboard::open(shared),
        metrics: Arc::clone(metrics),
        closing: closing.clone(),
        absent: Absent::default(),
        managed: false,
        snapshot_limit: charge.snapshot_limit,
        message_bytes: charge.message_bytes,
        host: charge.host.as_str().into(),
    };
    let entrance = match charge.entrance {
        charge::Entrance::AtOnce => Entrance::AtOnce,
        charge::Entrance::Admitted => Entrance::Admitted,
        charge::Entrance::OnTrial(of) => Entrance::OnTrial(Share { of, beside }),
    };
    let (listeners, stragglers, limit) = (Listeners::of(sockets), Stragglers::default(), charge.spec.abandoned_threads);
    let mut worker = Worker::spawn_as(
        charge.worker,
        generation,
        Arc::new(charge.spec),
        listeners,
        stragglers.clone(),
        surroundings,
        entrance,
    );
    let (mut state, progress) = (worker.state(), worker.progress());
    let mut link = bus.state();
    let mut exporter = Exporter::default();
    let mut told_error = None;
    let mut report = || {
        let last_error = progress.last_error().map(|error| error.message);
        let new_error = (last_error != told_error).then(|| last_error.clone()).flatten();
        told_error = last_error;
        bus.tell(&Request::Worker(News::Report { samples: exporter.samples(metrics), last_error: new_error }));
    };
    let mut reports = tokio::time::interval(REPORT);
    let (mut finishing, mut handing) = (tokio::task::JoinSet::new(), tokio::task::JoinSet::new());
    let end = loop {
        tokio::select! {
            biased;
            Ok(()) = state.changed() => {
                let news = match &*state.borrow_and_update() {
                    WorkerState::Prepared => WorkerNews::Prepared,
                    WorkerState::Running => WorkerNews::Running,
                    WorkerState::HandingOver => WorkerNews::HandingOver,
                    WorkerState::Broken(failure) => WorkerNews::Broken(failure.0.clone()),
                    WorkerState::Draining => WorkerNews::Draining,
                    // Said once it has left, with the reason.
                    WorkerState::Starting | WorkerState::Stopped | WorkerState::Failed(_) => continue,
                };
                bus.tell(&Request::Worker(News::State(news)));
            }
            end = worker.ended() => break end,
            () = stragglers.reached(limit) => {
                // They end with the process.
                let why = format!("{limit} handlers overran and have not come back (`abandoned_threads`)");
                break Err(StartFailure(why));
            }
            Some(told) = told.recv() => match told {
                Told::Stop => worker.stop(),
                Told::Finish => {
                    let closing = closing.clone();
                    finishing.spawn(async move { closing.close().await });
                }
                Told::HandOver => drop(handing.spawn(worker.handing_over())),
                Told::GoOn => worker.go_on().await,
                Told::Admit(state) => worker.admit(state),
            },
            Some(Ok(state)) = handing.join_next() => hand_over(bus, state),
            Some(_) = finishing.join_next() => bus.tell(&Request::Worker(News::Idle)),
            _ = reports.tick() => report(),
            Ok(_) = link.wait_for(|state| *state == BusState::Closed) => return Err("the host is gone".to_owned()),
        }
    };
    report();
    let news = end.map_or_else(|failure| WorkerNews::Failed(failure.0), |()| WorkerNews::Stopped);
    bus.tell(&Request::Worker(News::State(news)));
    Ok(())
}

/// Tells the host the worker's state, or why it cannot be had.
fn hand_over(bus: &RemoteBus, state: Result<StateSnapshot, StartFailure>) {
    let told = state.map_err(|failure| failure.0).map(|snapshot| {
        let schema = snapshot.schema;
        pieces(snapshot).for_each(|piece| bus.tell_with(&Request::Worker(News::Piece), &piece));
        schema
    });
    bus.tell(&Request::Worker(News::HandsOver(told)));
}
