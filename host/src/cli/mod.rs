//! The commands. What a person typed becomes one call into the library, and its result an exit code: 0 for success, 1 for
//! a failure, 2 for a command line that cannot be understood. Of `plan` alone 2 means that there are changes.

mod admin_client;
mod check;
mod dead_letters;
mod inspect;
mod new;
mod plan;
mod print;
mod restart;
mod run;
mod terminal_line;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mshost_isolation::{WORKER_OPTION, worker_main};
use mshost_plugin_host::{PROBE_OPTION, probe_main};

const EXAMPLES: &str = "\
Examples:
  mshost                                 run ./topology.toml
  mshost --topology deploy/movies.toml   run another one
  mshost check topology.toml             find what is wrong with it and its plugins, run nothing
  mshost plan topology.toml              see what it would change in the running host, change nothing
  mshost inspect plugins/libdb.so        see what a plugin file says of itself
  mshost new image_resizer               begin a plugin of your own
  mshost dead-letters list               see the jobs that nobody did

BROKER_URL in the environment moves the bus to RabbitMQ. SIGHUP reloads; SIGTERM and SIGINT drain and exit.";

/// A declarative plugin host for message-bus workers
#[derive(Debug, Parser)]
#[command(name = "mshost", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Cli {
    /// What to run
    #[arg(long, value_name = "FILE", env = "MSHOST_TOPOLOGY", default_value = "topology.toml")]
    topology: PathBuf,

    #[command(subcommand)]
    command: Option<CliCommand>,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Find everything that is wrong with a topology and its plugins, without running anything
    Check {
        /// The topology
        #[arg(value_name = "FILE", env = "MSHOST_TOPOLOGY", default_value = "topology.toml")]
        topology: PathBuf,
    },
    /// Show what a topology would change in the running host, without changing anything
    Plan(plan::PlanArgs),
    /// Show what a plugin file says of itself: versions, workers, configuration
    Inspect {
        /// The plugin
        #[arg(value_name = "FILE.so")]
        plugin: PathBuf,
    },
    /// Write a plugin crate that builds as it is, with a worker and a test
    New(new::NewArgs),
    /// See the jobs that nobody did, and decide what becomes of them
    DeadLetters(dead_letters::DeadLettersArgs),
    /// Have a running worker replaced by a fresh one, or a parked one started again
    Restart(restart::RestartArgs),
}

/// Runs what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    // A child that tries a plugin file is nothing else: no command line, no log, no runtime.
    if let [_, option, file] = &arguments[..]
        && option == PROBE_OPTION
    {
        return ExitCode::from(u8::try_from(probe_main(file.as_ref())).unwrap_or(1));
    }
    // Nor is the process of a worker.
    if let [_, option, parent] = &arguments[..]
        && option == WORKER_OPTION
    {
        return worker_main(&parent.to_string_lossy());
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misunderstood(&error, arguments.get(1).is_some_and(|word| word == "plan")),
    };
    let result = match cli.command {
        None => run::run(&cli.topology),
        Some(CliCommand::Check { topology }) => check::check(&topology),
        Some(CliCommand::Plan(args)) => plan::run(&args),
        Some(CliCommand::Inspect { plugin }) => inspect::inspect(&plugin),
        Some(CliCommand::New(args)) => new::run(&args),
        Some(CliCommand::DeadLetters(args)) => dead_letters::run(args),
        Some(CliCommand::Restart(args)) => restart::run(args),
    };
    result.unwrap_or_else(|failure| {
        print::err(&format!("{failure}"));
        ExitCode::FAILURE
    })
}

/// Says what was not understood, or the help that was asked for.
fn misunderstood(error: &clap::Error, plans: bool) -> ExitCode {
    // A reader that has gone is no error.
    let _ = error.print();
    match (error.exit_code(), plans) {
        (0, _) => ExitCode::SUCCESS,
        (_, true) => ExitCode::FAILURE,
        (_, false) => ExitCode::from(2),
    }
}
