//! The tables, and how a file comes to have them.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

/// How long a connection waits for another one's lock.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// `PRAGMA user_version` of what [`MIGRATIONS`] make.
const VERSION: u32 = MIGRATIONS.len() as u32;

/// Step N brings a file from version N to N + 1. Append; never change one that was released.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE movies (
        -- AUTOINCREMENT: an id is never given twice, not even after a delete.
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        title TEXT NOT NULL CHECK (trim(title) <> ''),
        details TEXT NOT NULL CHECK (json_valid(details)),
        -- The request that stored it. The bus delivers at least once; UNIQUE makes that once here.
        request TEXT UNIQUE
    ) STRICT;
    INSERT INTO movies (title, details) VALUES
        ('Metropolis', '{\"year\": 1927}'),
        ('Seven Samurai', '{\"year\": 1954}'),
        ('2001: A Space Odyssey', '{\"year\": 1968}');
"];

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its folder cannot be made.
    #[error("cannot make the folder of the database {path}")]
    Folder {
        /// The database.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A later version of this plugin made it.
    #[error(
        "the database {path} has schema version {found}, this plugin knows versions up to {VERSION}: use the newer plugin, or another `path`"
    )]
    Newer {
        /// The database.
        path: String,
        /// Its `user_version`.
        found: u32,
    },
    /// SQLite refuses it.
    #[error("cannot use the database {path}")]
    Sqlite {
        /// The database.
        path: String,
        /// Why.
        source: rusqlite::Error,
    },
}

/// Makes the folder of a file where it is missing.
///
/// # Errors
/// Where it cannot be made.
pub fn make_folder(path: &Path) -> Result<(), OpenError> {
    let Some(folder) = path.parent() else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|source| OpenError::Folder { path: path.display().to_string(), source })
}

/// Opens the file for writing; makes it, its folder and its tables where they are missing. Several processes may do so at once.
///
/// # Errors
/// Where the file cannot be made, is no database, or is of a later version.
pub fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    let name = || path.display().to_string();
    make_folder(path)?;
    let sqlite = |source| OpenError::Sqlite { path: name(), source };
    let mut connection = Connection::open(path).map_err(sqlite)?;
    prepare(&connection).map_err(sqlite)?;
    match migrate(&mut connection).map_err(sqlite)? {
        found if found > VERSION => Err(OpenError::Newer { path: name(), found }),
        _ => Ok(connection),
    }
}

/// Opens a file that [`open_writer`] holds open, for reading.
///
/// # Errors
/// SQLite's own.
pub fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// WAL lets readers go on while one writes. FULL: what was answered is on disk, also after a power cut.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let deadline = Instant::now() + BUSY_TIMEOUT;
    // The change to WAL takes an exclusive lock without asking the busy handler, so the first two openers may collide.
    while let Err(error) = connection.pragma_update(None, "journal_mode", "WAL") {
        if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) || Instant::now() > deadline {
            return Err(error);
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    connection.pragma_update(None, "synchronous", "FULL")
}

/// Brings the file to [`VERSION`] and returns the version that it has then. IMMEDIATE: one migrates, the others wait.
fn migrate(connection: &mut Connection) -> rusqlite::Result<u32> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for step in MIGRATIONS.iter().skip(found as usize) {
        transaction.execute_batch(step)?;
    }
    let now = found.max(VERSION);
    transaction.pragma_update(None, "user_version", now)?;
    transaction.commit()?;
    Ok(now)
}
