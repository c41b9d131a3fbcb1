//! `mshost dead-letters list`: a table for people, JSON for scripts.

use std::process::ExitCode;
use std::time::SystemTime;

use clap::builder::RangedU64ValueParser;

use super::super::print::{CommandError, err, out};
use super::super::terminal_line::terminal_line;
use super::FilterArgs;
use super::format::{age, cut, pretty};
use super::locate::LocatedDeadLetters;
use crate::admin::{DeadLetterEntry, DeadLetterFilter, DeadLetterList, MAX_LISTED};

/// How much of an error stands in a table.
const ERROR_WIDTH: usize = 60;

/// What `mshost dead-letters list` takes.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_LISTED as u64))]
    limit: usize,

    #[command(flatten)]
    filter: FilterArgs,

    /// As JSON, with all that is known but the data
    #[arg(long)]
    json: bool,
}

pub(super) async fn list(letters: &LocatedDeadLetters, args: ListArgs) -> Result<ExitCode, CommandError> {
    let ListArgs { limit, filter, json } = args;
    let filter = DeadLetterFilter::from(filter);
    let list = letters.list(&filter, limit).await.map_err(CommandError::new)?;
    if json {
        out(&pretty(&list)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !list.letters.is_empty() {
        out(&table(&list.letters, SystemTime::now()))?;
    }
    if let Some(note) = note(&list, &filter, &letters.place) {
        err(&note);
    }
    Ok(ExitCode::SUCCESS)
}

/// What a table leaves open.
fn note(list: &DeadLetterList, filter: &DeadLetterFilter, place: &str) -> Option<String> {
    let of = list.total.map_or_else(String::new, |total| format!(" of {total}"));
    match (list.letters.len(), list.truncated) {
        (0, true) => Some(format!(
            "none of the oldest {MAX_LISTED}{of} dead letters fits; requeue or purge some to see the others"
        )),
        (0, false) if *filter == DeadLetterFilter::default() => Some(format!("no dead letters on {place}")),
        (0, false) => Some(format!("none{of} dead letters fits")),
        (shown, true) => Some(format!("the oldest {shown}{of}; there may be more: see `--limit`")),
        (_, false) => None,
    }
}

fn table(letters: &[DeadLetterEntry], now: SystemTime) -> String {
    let mut rows = vec![["ID", "AGE", "TARGET", "REASON", "ATTEMPTS", "ERROR"].map(str::to_owned)];
    rows.extend(letters.iter().map(|letter| row(letter, now)));
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let lines = rows.iter().map(|row| {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn row(letter: &DeadLetterEntry, now: SystemTime) -> [String; 6] {
    let of_job =
        |cell: fn(&crate::admin::DeadLetterJob) -> String| letter.job.as_ref().map_or_else(|| "-".to_owned(), cell);
    [
        terminal_line(&letter.id),
        age(letter.died.0, now),
        of_job(|job| terminal_line(&job.target)),
        terminal_line(&letter.reason),
        of_job(|job| job.attempts.to_string()),
        cut(&terminal_line(&letter.error), ERROR_WIDTH),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admin::DeadLetterJob;

    fn letter(error: &str, job: Option<DeadLetterJob>) -> DeadLetterEntry {
        let died = SystemTime::UNIX_EPOCH.into();
        DeadLetterEntry {
            id: "J1".to_owned(),
            reason: "failed".to_owned(),
            error: error.to_owned(),
            worker: None,
            died,
            job,
            raw: None,
        }
    }

    #[test]
    fn a_table_is_aligned_cut_and_harmless() {
        let job = DeadLetterJob {
            target: "RESIZE:*".to_owned(),
            route: vec!["RESIZE:*".to_owned()],
            position: 0,
            sender: "WA:1460306476102".to_owned(),
            origin: "WA:1460306476102".to_owned(),
            correlation: "J1".to_owned(),
            attempts: 5,
            deadline: None,
            codec: "JSON".to_owned(),
            size: 2,
            data: None,
            base64: None,
        };
        let letters = [letter("\u{1b}[2J\nboom", Some(job)), letter(&"x".repeat(100), None)];
        let expected = format!(
            "ID  AGE  TARGET    REASON  ATTEMPTS  ERROR\n\
             J1  2m   RESIZE:*  failed  5         \\u{{1b}}[2J\\nboom\n\
             J1  2m   -         failed  -         {}…",
            "x".repeat(ERROR_WIDTH - 1)
        );
        assert_eq!(table(&letters, SystemTime::UNIX_EPOCH + Duration::from_secs(150)), expected);
    }
}
