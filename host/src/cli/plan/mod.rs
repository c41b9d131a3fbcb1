//! `mshost plan`: what a topology would change, before anything does.

mod report_table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hyper::{Method, StatusCode};
use mshost_topology::Topology;

use super::admin_client::AdminClient;
use super::print::{CommandError, err, out, show};
use crate::admin::{MAX_TOPOLOGY, ReloadReport};
use crate::supervisor::preview_start;

const EXAMPLES: &str = "\
Examples:
  mshost plan                            what a reload of ./topology.toml would change in the running host
  mshost plan new.toml                   the same for a file that is not in its place yet
  mshost plan --json | jq '.changes[]'

Where no host runs, it says what one would start. A file is read as if it stood in place of the running host's topology.

Exit codes: 0 nothing to change, 2 changes, 1 an error. A command line that cannot be understood is an error, too.";

/// The exit code that says that there are changes.
const CHANGES: u8 = 2;

/// What `mshost plan` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PlanArgs {
    /// The topology
    #[arg(value_name = "FILE", env = "MSHOST_TOPOLOGY", default_value = "topology.toml")]
    topology: PathBuf,

    /// Ask the running host whose admin server listens here, whatever the topology says
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,

    /// As JSON, as `POST /api/reload?dry_run=1` answers it
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &PlanArgs) -> Result<ExitCode, CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let report = runtime.map_err(CommandError::new)?.block_on(compare(args))?;
    if args.json {
        out(&serde_json::to_string_pretty(&report).map_err(CommandError::new)?)?;
    } else {
        out(&report_table::render(&report))?;
    }
    Ok(match (report.errors.is_empty(), report.has_changes()) {
        (false, _) => ExitCode::FAILURE,
        (true, true) => ExitCode::from(CHANGES),
        (true, false) => ExitCode::SUCCESS,
    })
}

async fn compare(args: &PlanArgs) -> Result<ReloadReport, CommandError> {
    if let Some(address) = &args.admin {
        // What the file means, down to the variables of its environment, is the host's to say.
        return ask(&AdminClient::new(address.clone()), &args.topology).await;
    }
    let topology = read(&args.topology)?;
    let not_asked = match topology.host.admin {
        Some(address) if address.port() != 0 => {
            let host = AdminClient::new(address.to_string());
            match host.try_connect().await {
                Ok(()) => return ask(&host, &args.topology).await,
                Err(error) => error,
            }
        }
        Some(_) => "the topology lets the admin server take any free port (`host.admin`)".to_owned(),
        None => "the topology turns the admin server off (`host.admin`)".to_owned(),
    };
    err(&format!("note: {not_asked}; compared with nothing running (`--admin HOST:PORT` names a host)"));
    preview_start(&topology).await.map_err(CommandError::new)
}

/// Its warnings are part of the report.
fn read(path: &Path) -> Result<Topology, CommandError> {
    mshost_topology::load(path, &|name| std::env::var(name).ok()).map_err(|errors| CommandError::new(show(&errors)))
}

async fn ask(host: &AdminClient, path: &Path) -> Result<ReloadReport, CommandError> {
    let name = path.display();
    let text = std::fs::read(path).map_err(|error| CommandError::new(format!("cannot read {name}: {error}")))?;
    if text.len() > MAX_TOPOLOGY || text.is_empty() {
        return Err(CommandError::new(format!(
            "{name} has {} bytes, a topology has from 1 to {MAX_TOPOLOGY}",
            text.len()
        )));
    }
    let said = host.ask(Method::POST, "/api/reload?dry_run=1", text).await.map_err(CommandError::new)?;
    if matches!(said.status, StatusCode::OK | StatusCode::UNPROCESSABLE_ENTITY) {
        return serde_json::from_slice(&said.body).map_err(|error| CommandError::new(host.broken(&error)));
    }
    let status = said.status;
    Err(CommandError::new(said.error().unwrap_or_else(|| host.broken(&format!("it answers {status}")))))
}
