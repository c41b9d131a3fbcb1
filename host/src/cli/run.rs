//! `mshost`: run a topology until a signal ends it.

use std::path::Path;
use std::process::ExitCode;

use mshost_core::telemetry::Telemetry;
use mshost_topology::Topology;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::print::{CommandError, show};
use crate::supervisor::Host;

/// Runs until SIGTERM or SIGINT, and drains then; SIGHUP reloads. A second SIGTERM or SIGINT ends it at once.
pub(super) fn run(path: &Path) -> Result<ExitCode, CommandError> {
    let topology = load(path)?;
    let telemetry = Telemetry::init(&topology.logs).map_err(CommandError::new)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CommandError::new)?;
    let code = runtime.block_on(serve(path, topology, telemetry))?;
    // Only what was abandoned is left; it must not keep the process.
    runtime.shutdown_background();
    Ok(code)
}

/// Reads a topology for a command; its warnings and errors are shown.
pub(super) fn load(path: &Path) -> Result<Topology, CommandError> {
    let topology = mshost_topology::load(path, &|name| std::env::var(name).ok())
        .map_err(|errors| CommandError::new(show(&errors)))?;
    if let Some(warnings) = &topology.warnings {
        super::print::err(&show(warnings));
    }
    Ok(topology)
}

async fn serve(path: &Path, topology: Topology, telemetry: Telemetry) -> Result<ExitCode, CommandError> {
    let mut signals = Signals::new().map_err(CommandError::new)?;
    let host = Host::start(path.to_owned(), topology, Some(telemetry)).await.map_err(CommandError::new)?;
    while let SignalRequest::Reload = signals.next().await {
        host.reload();
    }
    tokio::select! {
        () = host.shutdown() => Ok(ExitCode::SUCCESS),
        () = signals.stop_again() => {
            tracing::warn!(target: "mshost::supervisor", "told twice to stop: leaving without draining");
            Ok(ExitCode::FAILURE)
        }
    }
}

enum SignalRequest {
    Reload,
    Stop,
}

struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> SignalRequest {
        tokio::select! {
            _ = self.hangup.recv() => SignalRequest::Reload,
            _ = self.interrupt.recv() => SignalRequest::Stop,
            _ = self.terminate.recv() => SignalRequest::Stop,
        }
    }

    async fn stop_again(&mut self) {
        while !matches!(self.next().await, SignalRequest::Stop) {}
    }
}
