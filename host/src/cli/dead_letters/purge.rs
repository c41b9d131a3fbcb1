//! `mshost dead-letters purge`: forget them all, once the operator has confirmed it.

use std::io::{self, BufRead, IsTerminal};
use std::process::ExitCode;

use super::super::print::{self, CommandError, out};
use super::locate::LocatedDeadLetters;
use crate::admin::DeadLetterFilter;

/// What `mshost dead-letters purge` takes.
#[derive(Debug, clap::Args)]
pub(super) struct PurgeArgs {
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(super) async fn purge(letters: &LocatedDeadLetters, args: &PurgeArgs) -> Result<ExitCode, CommandError> {
    if !args.yes && !confirmed(letters).await? {
        return Err(CommandError::new("nothing was forgotten"));
    }
    let count = letters.purge().await.map_err(CommandError::new)?;
    out(&format!("{count} dead letters forgotten"))?;
    Ok(ExitCode::SUCCESS)
}

async fn confirmed(letters: &LocatedDeadLetters) -> Result<bool, CommandError> {
    if !io::stdin().is_terminal() {
        return Err(CommandError::new(
            "there is nobody to ask whether all dead letters may be forgotten: say so with `--yes`",
        ));
    }
    let total = letters.list(&DeadLetterFilter::default(), 1).await.map_err(CommandError::new)?.total;
    let count = total.map_or_else(|| "all".to_owned(), |total| format!("all {total}"));
    print::ask(&format!("Forget {count} dead letters on {} for good? [y/N] ", letters.place));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(CommandError::new)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
