//! `mshost restart`: a fresh worker in place of the one that runs, or of one that is parked.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::admin_client::AdminClient;
use super::print::{CommandError, out};
use super::run::load;
use crate::admin::RestartAccepted;

const EXAMPLES: &str = "\
Examples:
  mshost restart 'WB[0]'                     the first worker of type WB, also where it is parked
  mshost restart WB:1763988840123-1f2a-3     the worker with this id

The fresh worker is started first; once it takes jobs, the old one finishes what it has and leaves.";

/// What `mshost restart` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RestartArgs {
    /// The worker's id, or its slot, as `/api/topology` has them
    #[arg(value_name = "WORKER")]
    worker: String,

    /// The topology of the host that runs it
    #[arg(long, value_name = "FILE", env = "MSHOST_TOPOLOGY", default_value = "topology.toml")]
    topology: PathBuf,

    /// Ask the host whose admin server listens here, whatever the topology says
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,
}

pub(super) fn run(args: RestartArgs) -> Result<ExitCode, CommandError> {
    let RestartArgs { worker, topology, admin } = args;
    let address = match admin {
        Some(address) => address,
        None => address_in(&topology)?,
    };
    let path = format!("/api/workers/{}/restart", utf8_percent_encode(&worker, NON_ALPHANUMERIC));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::new)?;
    let host = AdminClient::new(address);
    let said = runtime.block_on(host.ask(Method::POST, &path, Vec::new())).map_err(CommandError::new)?;
    if !said.status.is_success() {
        return Err(CommandError::new(
            said.error().unwrap_or_else(|| host.broken(&format!("it answers {}", said.status))),
        ));
    }
    let asked = serde_json::from_slice(&said.body);
    let RestartAccepted { slot, restart } = asked.map_err(|error| CommandError::new(host.broken(&error)))?;
    out(&format!("{slot}: restart {restart}"))?;
    Ok(ExitCode::SUCCESS)
}

fn address_in(topology: &Path) -> Result<String, CommandError> {
    match load(topology)?.host.admin {
        Some(address) if address.port() != 0 => Ok(address.to_string()),
        Some(_) => Err(CommandError::new(
            "the topology lets the admin server take any free port (`host.admin`): say with `--admin HOST:PORT` where \
             the host's log says that it listens",
        )),
        None => Err(CommandError::new(
            "a host is asked through its admin server, which the topology turns off: set `host.admin` and restart the host",
        )),
    }
}
