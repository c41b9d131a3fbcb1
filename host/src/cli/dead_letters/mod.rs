//! `mshost dead-letters`: the dead letters, for the operator who decides what becomes of them.
//!
//! [`locate()`] finds them: on the broker that the topology names, through the admin server of the host that has an
//! embedded bus ([`remote_source`]), or in its journal where it is down ([`journal_source`]). Each command is then a question to one [`DeadLetterSource`](crate::admin::DeadLetterSource).

mod format;
mod journal_source;
mod list;
mod locate;
mod purge;
mod remote_source;
mod requeue;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use mshost_bus::DeathReason;

use self::locate::locate;
use super::print::CommandError;
use crate::admin::DeadLetterFilter;

const EXAMPLES: &str = "\
Examples:
  mshost dead-letters list                           what waits for a decision, oldest first
  mshost dead-letters show b0f1…                     why, and the job with its data
  mshost dead-letters requeue b0f1…                  try it again, as a first attempt without a deadline
  mshost dead-letters requeue --all --type WB        the same for all that a repaired WB can now do
  mshost dead-letters list --json | jq '.letters[].id'

On RabbitMQ no host has to run. Those of an embedded bus are asked of the running host, through its admin server; where none
runs, its journal is opened (`bus.journal`), and what is sent again is done when the host starts.";

/// Puts the options that all commands have behind their own.
const LAST: usize = 100;

/// What `mshost dead-letters` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DeadLettersArgs {
    /// The topology whose bus is meant
    #[arg(long, global = true, display_order = LAST, value_name = "FILE", env = "MSHOST_TOPOLOGY",
          default_value = "topology.toml")]
    topology: PathBuf,

    /// Ask the running host whose admin server listens here, whatever the topology says
    #[arg(long, global = true, display_order = LAST, value_name = "HOST:PORT")]
    admin: Option<String>,

    #[command(subcommand)]
    action: DeadLetterCommand,
}

#[derive(Debug, Subcommand)]
enum DeadLetterCommand {
    /// List them, oldest first
    List(list::ListArgs),
    /// Show all that is known of one, and its data
    Show(show::ShowArgs),
    /// Send them again, as first attempts without a deadline
    Requeue(requeue::RequeueArgs),
    /// Forget them all, for good
    Purge(purge::PurgeArgs),
}

/// Which dead letters are meant.
#[derive(Debug, clap::Args)]
struct FilterArgs {
    /// Only those for workers of this type
    #[arg(long = "type", value_name = "TYPE")]
    worker_type: Option<String>,

    /// Only those that died of this
    #[arg(long, value_name = "REASON", value_parser = PossibleValuesParser::new(DeathReason::ALL.map(DeathReason::name)))]
    reason: Option<String>,
}

impl From<FilterArgs> for DeadLetterFilter {
    fn from(args: FilterArgs) -> Self {
        Self { worker_type: args.worker_type, reason: args.reason }
    }
}

pub(super) fn run(args: DeadLettersArgs) -> Result<ExitCode, CommandError> {
    let DeadLettersArgs { topology, admin, action } = args;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(CommandError::new)?;
    runtime.block_on(async {
        let letters = locate(&topology, admin).await?;
        let result = match action {
            DeadLetterCommand::List(args) => list::list(&letters, args).await,
            DeadLetterCommand::Show(args) => show::show(&letters, &args).await,
            DeadLetterCommand::Requeue(args) => requeue::requeue(&letters, args).await,
            DeadLetterCommand::Purge(args) => purge::purge(&letters, &args).await,
        };
        letters.close().await;
        result
    })
}
