//! `mshost dead-letters show ID`: everything about one.

use std::process::ExitCode;
use std::time::SystemTime;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::super::print::{self, CommandError, err, out};
use super::super::terminal_line::terminal_line;
use super::format::{age, hex, lines, pretty};
use super::locate::LocatedDeadLetters;
use crate::admin::{DeadLetterEntry, DeadLetterJob, DeadLetterList};

/// How many bytes of data are shown that are not JSON.
const SHOWN_BYTES: usize = 1 << 10;

/// What `mshost dead-letters show` takes.
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// Its id; all that share it are shown
    #[arg(value_name = "ID")]
    id: String,

    /// As JSON, with the data also in Base64
    #[arg(long)]
    json: bool,

    /// Nothing but the data, or the message that is not a job, byte by byte as it was sent
    #[arg(long, conflicts_with = "json")]
    raw: bool,
}

pub(super) async fn show(letters: &LocatedDeadLetters, args: &ShowArgs) -> Result<ExitCode, CommandError> {
    let list = letters.show(&args.id).await.map_err(CommandError::new)?;
    if list.letters.is_empty() {
        return Err(unknown(&args.id, list.truncated));
    }
    if args.raw {
        print::bytes(&only_data(&list.letters)?)?;
    } else if args.json {
        out(&pretty(&list)?)?;
    } else {
        let shown: Vec<_> = list.letters.iter().map(|letter| describe(letter, SystemTime::now())).collect();
        out(&shown.join("\n\n"))?;
        note(&list);
    }
    Ok(ExitCode::SUCCESS)
}

fn unknown(id: &str, truncated: bool) -> CommandError {
    let id = terminal_line(id);
    CommandError::new(if truncated {
        format!("none of the oldest dead letters has the id `{id}`; there are more than can be looked through")
    } else {
        format!("no dead letter has the id `{id}`: `mshost dead-letters list` shows those that there are")
    })
}

fn note(list: &DeadLetterList) {
    if list.truncated {
        err("there may be more with this id");
    }
}

/// The data of all, where it is the same.
fn only_data(letters: &[DeadLetterEntry]) -> Result<Vec<u8>, CommandError> {
    let mut all: Vec<_> = letters.iter().map(data).collect::<Result<_, _>>()?;
    all.dedup();
    match (all.pop(), all.is_empty()) {
        (Some(data), true) => Ok(data),
        _ => Err(CommandError::new("several dead letters with different data share this id: see them with `--json`")),
    }
}

fn data(letter: &DeadLetterEntry) -> Result<Vec<u8>, CommandError> {
    let base64 = match (&letter.job, &letter.raw) {
        (Some(job), _) => &job.base64,
        (None, Some(raw)) => &raw.base64,
        (None, None) => return Err(CommandError::new("this dead letter is not a job, and has no data")),
    };
    BASE64_STANDARD.decode(base64.as_deref().unwrap_or_default()).map_err(CommandError::new)
}

fn describe(letter: &DeadLetterEntry, now: SystemTime) -> String {
    let mut facts = vec![
        ("id", letter.id.clone()),
        ("reason", letter.reason.clone()),
        ("error", letter.error.clone()),
        ("died", format!("{} ({} ago)", letter.died, age(letter.died.0, now))),
        ("tried by", letter.worker.clone().unwrap_or_else(|| "nobody".to_owned())),
    ];
    facts.extend(letter.job.iter().flat_map(of_job));
    let facts = facts.iter().map(|(name, value)| format!("{name:12}{}", terminal_line(value)));
    let facts = facts.collect::<Vec<_>>().join("\n");
    match (&letter.job, &letter.raw) {
        (Some(job), _) => format!("{facts}\n\n{}", shown_data(letter, job)),
        (None, Some(raw)) => format!("{facts}\n\nIt is not a job but {} bytes:\n\n{}", raw.size, shown_bytes(letter)),
        (None, None) => format!("{facts}\n\nIt is not a job."),
    }
}

fn of_job(job: &DeadLetterJob) -> [(&'static str, String); 8] {
    let here = |(index, address): (usize, &String)| {
        if index == job.position { format!("[{address}]") } else { address.clone() }
    };
    let route: Vec<_> = job.route.iter().enumerate().map(here).collect();
    [
        ("attempts", job.attempts.to_string()),
        ("target", job.target.clone()),
        ("route", route.join(" → ")),
        ("sender", job.sender.clone()),
        ("origin", job.origin.clone()),
        ("pipeline", job.correlation.clone()),
        ("deadline", job.deadline.map_or_else(|| "none".to_owned(), |deadline| deadline.to_string())),
        ("data", format!("{}, {} bytes", job.codec, job.size)),
    ]
}

fn shown_data(letter: &DeadLetterEntry, job: &DeadLetterJob) -> String {
    if let Some(shown) = job.data.as_ref().and_then(|data| serde_json::to_string_pretty(data).ok()) {
        return lines(&shown);
    }
    shown_bytes(letter)
}

fn shown_bytes(letter: &DeadLetterEntry) -> String {
    let bytes = data(letter).unwrap_or_default();
    let first = &bytes[..bytes.len().min(SHOWN_BYTES)];
    let more = if bytes.len() > first.len() { "\n… (all of it with `--raw`)" } else { "" };
    format!("{}{more}", hex(first))
}
