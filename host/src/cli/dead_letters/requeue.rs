//! `mshost dead-letters requeue`: try again, and say of each what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use super::super::print::{Failure, err, out};
use super::FilterArgs;
use super::reach::Reached;
use super::text::line;
use crate::admin::{LetterFilter, MAX_LISTED, Refused, RequeueReport};

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

pub(super) async fn requeue(letters: &Reached, args: RequeueArgs) -> Result<ExitCode, Failure> {
    let RequeueArgs { ids, all, filter } = args;
    let filter = LetterFilter::from(filter);
    if !all && filter != LetterFilter::default() {
        return Err(Failure::new(
            "`--type` and `--reason` go with `--all`, as in `mshost dead-letters requeue --all --type WB`",
        ));
    }
    let mut chosen = if all { choose(letters, &filter).await? } else { Chosen::of(ids) };
    if chosen.is_empty() {
        out("nothing to send again")?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut report = letters.requeue(&chosen.ids).await.map_err(Failure::new)?;
    report.refused.append(&mut chosen.refused);
    tell(&report)?;
    if chosen.truncated {
        err("there may be more: run the command again");
    }
    let left = report.refused.len() + report.unknown.len();
    if left > 0 {
        return Err(Failure::new(format!("{} sent again, {left} not", report.sent.len())));
    }
    Ok(ExitCode::SUCCESS)
}

/// What is to be sent again.
#[derive(Default)]
struct Chosen {
    /// Each once, in the order that they were named.
    ids: Vec<String>,
    /// What cannot be.
    refused: Vec<Refused>,
    truncated: bool,
}

impl Chosen {
    fn of(ids: Vec<String>) -> Self {
        let mut seen = BTreeSet::new();
        Self { ids: ids.into_iter().filter(|id| seen.insert(id.clone())).collect(), ..Self::default() }
    }

    fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.refused.is_empty()
    }
}

async fn choose(letters: &Reached, filter: &LetterFilter) -> Result<Chosen, Failure> {
    let list = letters.list(filter, MAX_LISTED).await.map_err(Failure::new)?;
    let (jobs, others): (Vec<_>, Vec<_>) = list.letters.into_iter().partition(|letter| letter.job.is_some());
    let refused = others.into_iter().map(|letter| {
        let error = "it is not a job: see it with `mshost dead-letters show`; only a purge removes it".to_owned();
        Refused { id: letter.id, error }
    });
    let chosen = Chosen::of(jobs.into_iter().map(|letter| letter.id).collect());
    Ok(Chosen { refused: refused.collect(), truncated: list.truncated, ..chosen })
}

fn tell(report: &RequeueReport) -> Result<(), Failure> {
    let mut sent: BTreeMap<&str, usize> = BTreeMap::new();
    for id in &report.sent {
        *sent.entry(id).or_default() += 1;
    }
    for (id, count) in sent {
        let share = if count > 1 { format!(" ({count} that share this id)") } else { String::new() };
        out(&format!("{}: sent again{share}", line(id)))?;
    }
    for Refused { id, error } in &report.refused {
        err(&format!("{}: still a dead letter: {}", line(id), line(error)));
    }
    for id in &report.unknown {
        err(&format!("{}: no dead letter has this id", line(id)));
    }
    Ok(())
}
