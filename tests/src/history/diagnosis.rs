//! What is known of jobs that nobody accounts for, for whoever has to find out why.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use rusqlite::Connection;

use super::dead_letters::DeadLetterLine;
use super::{HistoryVerdict, Violation};

/// How many jobs are looked at; more of them say nothing more.
const MOST: usize = 20;

/// Tells of each lost or silent job what its workers recorded, and where the embedded bus of a host that is down has it.
/// `bus` is the folder of `bus.journal`, `letters` are the dead letters that the host had.
#[must_use]
pub fn diagnose(verdict: &HistoryVerdict, records: &Path, bus: &Path, letters: &[DeadLetterLine]) -> String {
    let jobs: Vec<_> = verdict.violations.iter().filter_map(job).take(MOST).collect();
    if jobs.is_empty() {
        return String::new();
    }
    let recorded = recorded(&jobs, records);
    let waiting = waiting(&jobs, bus);
    let mut text = String::new();
    for job in jobs {
        let _ = writeln!(text, "job {job}");
        for line in recorded.get(job).into_iter().flatten() {
            let _ = writeln!(text, "  {line}");
        }
        let _ = writeln!(text, "  the bus: {}", on_the_bus(job, &waiting, letters));
    }
    text
}

fn job(violation: &Violation) -> Option<&str> {
    match violation {
        Violation::Lost { job, .. } | Violation::Silent { job, .. } => Some(job),
        _ => None,
    }
}

fn on_the_bus(job: &str, waiting: &Result<BTreeMap<String, String>, String>, letters: &[DeadLetterLine]) -> String {
    let dead = letters.iter().find(|letter| letter.id == job).map(|letter| format!("a dead letter: {}", letter.why));
    let waits = match waiting {
        Ok(waiting) => waiting.get(job).cloned(),
        Err(error) => Some(format!("its journal cannot be read: {error}")),
    };
    match (dead, waits) {
        (None, None) => "neither in its journal nor a dead letter: somebody acked it, or it is lost".to_owned(),
        (dead, waits) => dead.into_iter().chain(waits).collect::<Vec<_>>().join("; "),
    }
}

/// The lines of the workers' journals that name each job, oldest first in each journal.
fn recorded<'a>(jobs: &[&'a str], folder: &Path) -> BTreeMap<&'a str, Vec<String>> {
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in files.filter(|path| path.extension().is_some_and(|is| is == "journal")) {
        let Ok(file) = File::open(&path) else { continue };
        let worker = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for line in BufReader::new(file).lines().map_while(Result::ok) {
            for job in jobs.iter().filter(|job| line.split(' ').any(|word| word == **job)) {
                found.entry(job).or_default().push(format!("{worker}: {line}"));
            }
        }
    }
    found
}

/// How the jobs that wait in a bus's journal stand there.
fn waiting(jobs: &[&str], bus: &Path) -> Result<BTreeMap<String, String>, String> {
    let read = || -> rusqlite::Result<_> {
        let connection = Connection::open(bus.join("journal.sqlite"))?;
        let mut rows = connection.prepare("SELECT record, body, attempt, due, deliveries FROM jobs")?;
        let mut rows = rows.query([])?;
        let mut found = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let body: Vec<u8> = row.get(1)?;
            let Some(job) = jobs.iter().find(|job| names(&body, job)) else { continue };
            let (record, attempt): (i64, u32) = (row.get(0)?, row.get(2)?);
            let (due, deliveries): (Option<i64>, u32) = (row.get(3)?, row.get(4)?);
            let due = due.map_or_else(|| "at once".to_owned(), |due| format!("at {due} ms"));
            let text = format!(
                "waits in record {record}: attempt {attempt}, due {due}, delivered {deliveries} times unsettled"
            );
            found.insert((*job).to_owned(), text);
        }
        Ok(found)
    };
    read().map_err(|error| error.to_string())
}

/// Whatever the codec, an id stands in a body as it is; another may begin like it.
fn names(body: &[u8], job: &str) -> bool {
    let goes_on = |end: usize| body.get(end).is_some_and(u8::is_ascii_alphanumeric);
    let places = body.windows(job.len()).enumerate();
    places.filter(|(_, part)| *part == job.as_bytes()).any(|(start, _)| !goes_on(start + job.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_job_is_told_with_its_records_and_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("HA.journal"), "\nbegun 7 1 J1 1 0 .\n\nbegun 7 1 J11 1 0 .\n").unwrap();
        let bus = Connection::open(folder.path().join("journal.sqlite")).unwrap();
        let sql = "CREATE TABLE jobs (record, body, attempt, due, deliveries);
                   INSERT INTO jobs VALUES (3, x'004a323200', 1, NULL, 0), (4, x'004a3200', 2, 99, 1);";
        bus.execute_batch(sql).unwrap();
        let lost = |job: &str| Violation::Lost { pipeline: 7, stage: 1, job: job.to_owned() };
        let violations = vec![lost("J1"), lost("J2"), lost("J3"), Violation::Unanswered { pipeline: 8 }];
        let verdict = HistoryVerdict { violations, ..HistoryVerdict::default() };
        let letters = [DeadLetterLine { id: "J3".to_owned(), why: "no_worker".to_owned() }];
        let expected = "\
job J1
  HA: begun 7 1 J1 1 0 .
  the bus: neither in its journal nor a dead letter: somebody acked it, or it is lost
job J2
  the bus: waits in record 4: attempt 2, due at 99 ms, delivered 1 times unsettled
job J3
  the bus: a dead letter: no_worker
";
        assert_eq!(diagnose(&verdict, folder.path(), folder.path(), &letters), expected);
        assert_eq!(diagnose(&HistoryVerdict::default(), folder.path(), folder.path(), &letters), "");
    }
}
