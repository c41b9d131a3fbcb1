//! `mshost dead-letters requeue`: try again, and say of each what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use super::super::print::{CommandError, err, out};
use super::super::terminal_line::terminal_line;
use super::FilterArgs;
use super::locate::LocatedDeadLetters;
use crate::admin::{DeadLetterFilter, MAX_LISTED, RefusedRequeue, RequeueReport};

/// What `mshost dead-letters requeue` takes.
#[derive(Debug, clap::Args)]
pub(super) struct RequeueArgs {
    /// Which; all that share an id are sent
    #[arg(value_name = "ID", required_unless_present_any = ["all", "worker_type", "reason"], conflicts_with = "all")]
    ids: Vec<String>,

    /// All that there are, or that the filters let through
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    filter: FilterArgs,
}

pub(super) async fn requeue(letters: &LocatedDeadLetters, args: RequeueArgs) -> Result<ExitCode, CommandError> {
    let RequeueArgs { ids, all, filter } = args;
    let filter = DeadLetterFilter::from(filter);
    if !all && filter != DeadLetterFilter::default() {
        return Err(CommandError::new(
            "`--type` and `--reason` go with `--all`, as in `mshost dead-letters requeue --all --type WB`",
        ));
    }
    let mut chosen = if all { choose(letters, &filter).await? } else { RequeueSelection::of(ids) };
    if chosen.is_empty() {
        out("nothing to send again")?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut report = letters.requeue(&chosen.ids).await.map_err(CommandError::new)?;
    report.refused.append(&mut chosen.refused);
    tell(&report)?;
    if chosen.truncated {
        err("there may be more: run the command again");
    }
    let left = report.refused.len() + report.unknown.len();
    if left > 0 {
        return Err(CommandError::new(format!("{} sent again, {left} not", report.sent.len())));
    }
    Ok(ExitCode::SUCCESS)
}

/// What is to be sent again.
#[derive(Default)]
struct RequeueSelection {
    /// Each once, in the order that they were named.
    ids: Vec<String>,
    /// What cannot be.
    refused: Vec<RefusedRequeue>,
    truncated: bool,
}

impl RequeueSelection {
    fn of(ids: Vec<String>) -> Self {
        let mut seen = BTreeSet::new();
        Self { ids: ids.into_iter().filter(|id| seen.insert(id.clone())).collect(), ..Self::default() }
    }

    fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.refused.is_empty()
    }
}

async fn choose(letters: &LocatedDeadLetters, filter: &DeadLetterFilter) -> Result<RequeueSelection, CommandError> {
    let list = letters.list(filter, MAX_LISTED).await.map_err(CommandError::new)?;
    let (jobs, others): (Vec<_>, Vec<_>) = list.letters.into_iter().partition(|letter| letter.job.is_some());
    let refused = others.into_iter().map(|letter| {
        let error = "it is not a job: see it with `mshost dead-letters show`; only a purge removes it".to_owned();
        RefusedRequeue { id: letter.id, error }
    });
    let chosen = RequeueSelection::of(jobs.into_iter().map(|letter| letter.id).collect());
    Ok(RequeueSelection { refused: refused.collect(), truncated: list.truncated, ..chosen })
}

fn tell(report: &RequeueReport) -> Result<(), CommandError> {
    let mut sent: BTreeMap<&str, usize> = BTreeMap::new();
    for id in &report.sent {
        *sent.entry(id).or_default() += 1;
    }
    for (id, count) in sent {
        let share = if count > 1 { format!(" ({count} that share this id)") } else { String::new() };
        out(&format!("{}: sent again{share}", terminal_line(id)))?;
    }
    for RefusedRequeue { id, error } in &report.refused {
        err(&format!("{}: still a dead letter: {}", terminal_line(id), terminal_line(error)));
    }
    for id in &report.unknown {
        err(&format!("{}: no dead letter has this id", terminal_line(id)));
    }
    Ok(())
}
