//! The journal's file: SQLite in WAL mode, which one process has for itself.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mshost_bus::{BusError, Codec, Death, JournalConfig, JournalSync};
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, params};

use super::change::JournalChange;
use super::job_rows::{self, JOB_COLUMNS, JobRow};
use super::lock_holder::lock_holder;
use super::restored::{JournalPurpose, Restored};

/// Tells our files from other SQLite databases: "msho".
const APPLICATION: i32 = 0x6d73_686f;
/// Grows when an older mshost could no longer read what this one writes.
const SCHEMA: i32 = 1;
/// A host that was killed a moment ago may not be gone for good yet.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is said of one that has never been.
const NONE: &str = "there is none; a host makes it when it starts for the first time";

const TABLES: &str = "
    CREATE TABLE bus (codec TEXT NOT NULL) STRICT;
    CREATE TABLE jobs (
        record INTEGER PRIMARY KEY, body BLOB NOT NULL, correlation TEXT NOT NULL, origin TEXT NOT NULL,
        attempt INTEGER NOT NULL, deadline INTEGER, due INTEGER, deliveries INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE dead (
        record INTEGER PRIMARY KEY, body BLOB NOT NULL, correlation TEXT NOT NULL, origin TEXT NOT NULL,
        attempt INTEGER NOT NULL, deadline INTEGER, id TEXT NOT NULL, reason TEXT NOT NULL, error TEXT NOT NULL,
        worker TEXT, at INTEGER NOT NULL
    ) STRICT;
";

/// The open file.
#[derive(Debug)]
pub(super) struct JournalStore {
    connection: Connection,
    file: PathBuf,
}

impl JournalStore {
    /// Opens the journal in a folder and locks it; for the bus itself it begins one where there is none.
    pub(super) fn open(config: &JournalConfig, codec: Codec, purpose: JournalPurpose) -> Result<Self, BusError> {
        let file = config.folder.join("journal.sqlite");
        let refuse = |reason| refused(&file, reason);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let flags = match purpose {
            JournalPurpose::Jobs => {
                fs::create_dir_all(&config.folder).map_err(|error| {
                    refuse(format!(
                        "its folder cannot be made: {error}; set `bus.journal` to a folder that this user may write to"
                    ))
                })?;
                flags | OpenFlags::SQLITE_OPEN_CREATE
            }
            JournalPurpose::DeadLetters
                if fs::metadata(&file).is_err_and(|error| error.kind() == ErrorKind::NotFound) =>
            {
                return Err(refuse(NONE.to_owned()));
            }
            JournalPurpose::DeadLetters => flags,
        };
        let help = |error: &rusqlite::Error| refuse(what_to_do(error, &file, config, purpose));
        let mut connection = Connection::open_with_flags(&file, flags).map_err(|error| help(&error))?;
        match prepare(&mut connection, config, codec, purpose) {
            Ok(Ok(())) => Ok(Self { connection, file }),
            Ok(Err(reason)) => Err(refuse(reason)),
            Err(error) => Err(help(&error)),
        }
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// What is there, and the highest record of it.
    pub(super) fn load(&self, codec: Codec, purpose: JournalPurpose) -> Result<(Restored, i64), BusError> {
        let read = || -> rusqlite::Result<_> {
            let which = if purpose == JournalPurpose::Jobs { "" } else { "WHERE false" };
            let query = format!("SELECT {JOB_COLUMNS}, due, deliveries FROM jobs {which} ORDER BY record");
            let jobs = self
                .connection
                .prepare(&query)?
                .query_map([], |row| job_rows::restored(row, codec))?
                .collect::<Result<_, _>>()?;
            let query = format!("SELECT {JOB_COLUMNS}, id, reason, error, worker, at FROM dead ORDER BY at, record");
            let dead = self
                .connection
                .prepare(&query)?
                .query_map([], |row| job_rows::dead(row, codec))?
                .collect::<Result<_, _>>()?;
            let last =
                "SELECT max(ifnull((SELECT max(record) FROM jobs), 0), ifnull((SELECT max(record) FROM dead), 0))";
            Ok((Restored { jobs, dead }, self.connection.query_row(last, [], |row| row.get(0))?))
        };
        read().map_err(|error| refused(&self.file, format!("it cannot be read: {error}")))
    }

    /// Makes all changes, in their order, or none.
    pub(super) fn commit<'c>(&mut self, changes: impl Iterator<Item = &'c JournalChange>) -> Result<(), String> {
        let Self { connection, file } = self;
        let write = || -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            for change in changes {
                apply(&transaction, change)?;
            }
            transaction.commit()
        };
        write().map_err(|error| {
            let help = match error.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => "; free some space on its disk, or raise `bus.journal_limit`",
                _ => "",
            };
            format!("the journal {} cannot be written: {error}{help}", file.display())
        })
    }
}

/// Locks the database, and checks that it is ours and of this bus. The inner error is a text for people.
fn prepare(
    connection: &mut Connection,
    config: &JournalConfig,
    codec: Codec,
    purpose: JournalPurpose,
) -> rusqlite::Result<Result<(), String>> {
    connection.busy_timeout(PATIENCE)?;
    // Before the first access, so that WAL needs no shared memory and the lock is held from then on.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    let [application, schema, page_size] = ["application_id", "user_version", "page_size"]
        .map(|name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0)));
    let (application, schema, page_size) = (application?, schema?, page_size?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let is_new = tables == 0 && application == 0;
    if is_new && purpose == JournalPurpose::DeadLetters {
        return Ok(Err(NONE.to_owned()));
    }
    if !is_new && application != APPLICATION {
        return Ok(Err("it is a database of another program; set `bus.journal` to another folder".to_owned()));
    }
    if schema > SCHEMA {
        return Ok(Err(format!(
            "a newer mshost wrote it (version {schema}, this one reads up to {SCHEMA}); update mshost, or set `bus.journal` \
             to another folder"
        )));
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let sync = match config.sync {
        JournalSync::Always => "FULL",
        JournalSync::Checkpoint => "NORMAL",
        JournalSync::Never => "OFF",
    };
    connection.pragma_update(None, "synchronous", sync)?;
    let pages = config.limit / u64::from(page_size.unsigned_abs().max(512));
    connection.pragma_update(
        None,
        "max_page_count",
        i64::try_from(pages).unwrap_or(i64::MAX).min(i64::from(u32::MAX) - 1),
    )?;
    // A write, so that the lock is exclusive from here on, whatever the journal holds.
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    if is_new {
        transaction.execute_batch(TABLES)?;
        transaction.execute("INSERT INTO bus (codec) VALUES (?1)", [codec.name()])?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
    }
    transaction.pragma_update(None, "user_version", SCHEMA)?;
    let written: String = transaction.query_row("SELECT codec FROM bus", [], |row| row.get(0))?;
    if written != codec.name() {
        return Ok(Err(format!(
            "its jobs are written in {written}, but the bus speaks {}; set `bus.codec` back until the journal is empty, or \
             `bus.journal` to another folder",
            codec.name()
        )));
    }
    transaction.commit()?;
    Ok(Ok(()))
}

fn apply(transaction: &Transaction<'_>, change: &JournalChange) -> rusqlite::Result<()> {
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| transaction.prepare_cached(sql)?.execute(values).map(drop);
    match change {
        JournalChange::Insert(record, row) => {
            let JobRow { body, correlation, origin, attempt, deadline } = &**row;
            let sql = "INSERT INTO jobs (record, body, correlation, origin, attempt, deadline, deliveries) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)";
            run(sql, params![record.key(), &body[..], &**correlation, &**origin, attempt, deadline])
        }
        JournalChange::Remove(record) => run("DELETE FROM jobs WHERE record = ?1", params![record.key()]),
        JournalChange::Retry { record, attempt, due } => {
            let sql = "UPDATE jobs SET attempt = ?2, due = ?3, deliveries = 0 WHERE record = ?1";
            run(sql, params![record.key(), attempt, job_rows::millis(*due)])
        }
        JournalChange::Delivered { record, times } => {
            run("UPDATE jobs SET deliveries = ?2 WHERE record = ?1", params![record.key(), times])
        }
        JournalChange::DeadLetter { record, id, death } => {
            let Death { reason, error, worker, at } = death;
            let sql = "INSERT INTO dead (record, body, correlation, origin, attempt, deadline, id, reason, error, worker, at) \
                       SELECT record, body, correlation, origin, attempt, deadline, ?2, ?3, ?4, ?5, ?6 \
                       FROM jobs WHERE record = ?1";
            let worker = worker.as_ref().map(|worker| &*worker.id);
            run(sql, params![record.key(), id, reason.name(), error, worker, job_rows::millis(*at)])?;
            run("DELETE FROM jobs WHERE record = ?1", params![record.key()])
        }
        JournalChange::RemoveDeadLetter(record) => run("DELETE FROM dead WHERE record = ?1", params![record.key()]),
        JournalChange::PurgeDeadLetters => run("DELETE FROM dead", params![]),
    }
}

fn refused(file: &Path, reason: String) -> BusError {
    BusError::Refused { what: format!("opening the journal {}", file.display()), reason }
}

fn what_to_do(error: &rusqlite::Error, file: &Path, config: &JournalConfig, purpose: JournalPurpose) -> String {
    let (writable, other) = match purpose {
        JournalPurpose::Jobs => {
            ("set `bus.journal` to a folder that this user may write to", "or set `bus.journal` to another folder")
        }
        JournalPurpose::DeadLetters => {
            ("run this as the user that the host runs as", "or ask it with `--admin HOST:PORT`")
        }
    };
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            let holder = lock_holder(file).unwrap_or_else(|| "another process".to_owned());
            format!("{holder} has it open; stop that host, {other}")
        }
        Some(ErrorCode::DiskFull) => format!(
            "its disk is full, or it holds more than the {} bytes of `bus.journal_limit`: free some space or raise the limit",
            config.limit
        ),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            format!("{error}; {writable}")
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            format!("{error}; put its backup back, or move the file away to begin anew without the jobs in it")
        }
        _ => error.to_string(),
    }
}
