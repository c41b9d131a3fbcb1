//! `mshost dead-letters purge`: forget them all, once somebody has said so twice.

use std::io::{self, BufRead, IsTerminal};
use std::process::ExitCode;

use super::super::print::{self, Failure, out};
use super::reach::Reached;
use crate::admin::LetterFilter;

/// What `mshost dead-letters purge` takes.
#[derive(Debug, clap::Args)]
pub(super) struct PurgeArgs {
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(super) async fn purge(letters: &Reached, args: &PurgeArgs) -> Result<ExitCode, Failure> {
    if !args.yes && !confirmed(letters).await? {
        return Err(Failure::new("nothing was forgotten"));
    }
    let count = letters.purge().await.map_err(Failure::new)?;
    out(&format!("{count} dead letters forgotten"))?;
    Ok(ExitCode::SUCCESS)
}

async fn confirmed(letters: &Reached) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            "there is nobody to ask whether all dead letters may be forgotten: say so with `--yes`",
        ));
    }
    let total = letters.list(&LetterFilter::default(), 1).await.map_err(Failure::new)?.total;
    let count = total.map_or_else(|| "all".to_owned(), |total| format!("all {total}"));
    print::ask(&format!("Forget {count} dead letters on {} for good? [y/N] ", letters.place));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(Failure::new)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
