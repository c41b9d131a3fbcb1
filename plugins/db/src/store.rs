//! The movies in their SQLite file.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row, params, types::Type};

use crate::movie::{Movie, NewMovie};
use crate::schema::{self, OpenError};

/// The most text in one list: an answer must fit into one message of the bus.
pub const MAX_LIST_BYTES: usize = 1 << 20;

/// Idle readers that are kept.
const MAX_IDLE_READERS: usize = 8;

/// The movies. Any number of threads may use one, and any number of processes one file.
///
/// SQLite has one writer at a time: ours queue fairly for one connection, instead of polling its lock. Readers take a
/// connection from a small pool; a `thread_local!` would do, but would keep this library in memory after a reload.
pub struct Store {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
}

impl Store {
    /// Opens the file; makes it with its tables and a few movies where it is missing.
    ///
    /// # Errors
    /// Where the file cannot be made, is no database, or is of a later version.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let writer = schema::open_writer(path)?;
        Ok(Self { path: path.to_owned(), writer: Mutex::new(writer), readers: Mutex::default() })
    }

    /// At most `limit` movies whose id is above `after`, by id; fewer where they would be larger than [`MAX_LIST_BYTES`],
    /// but never none.
    ///
    /// # Errors
    /// SQLite's own.
    pub fn list(&self, after: i64, limit: u32) -> rusqlite::Result<Vec<Movie>> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT id, title, details FROM movies WHERE id > ?1 ORDER BY id LIMIT ?2")?;
            let mut rows = statement.query(params![after, limit])?;
            let (mut movies, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                bytes += row.get_ref(1)?.as_bytes()?.len() + row.get_ref(2)?.as_bytes()?.len();
                if bytes > MAX_LIST_BYTES && !movies.is_empty() {
                    break;
                }
                movies.push(movie(row)?);
            }
            Ok(movies)
        })
    }

    /// The movie with this id, if there is one.
    ///
    /// # Errors
    /// SQLite's own.
    pub fn get(&self, id: i64) -> rusqlite::Result<Option<Movie>> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT id, title, details FROM movies WHERE id = ?1")?
                .query_row([id], movie)
                .optional()
        })
    }

    /// Stores a movie, or finds the one that the same `request` has stored before.
    ///
    /// # Errors
    /// SQLite's own.
    pub fn insert(&self, new: &NewMovie, request: &str) -> rusqlite::Result<Movie> {
        let details = serde_json::to_string(&new.details)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        let writer = lock(&self.writer);
        writer
            .prepare_cached(
                "INSERT INTO movies (title, details, request) VALUES (?1, ?2, ?3) ON CONFLICT (request) DO NOTHING",
            )?
            .execute(params![new.title, details, request])?;
        writer.prepare_cached("SELECT id, title, details FROM movies WHERE request = ?1")?.query_row([request], movie)
    }

    fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let idle = lock(&self.readers).pop();
        let reader = match idle {
            Some(reader) => reader,
            None => schema::open_reader(&self.path)?,
        };
        // A reader that failed is not put back.
        let found = query(&reader)?;
        let mut readers = lock(&self.readers);
        if readers.len() < MAX_IDLE_READERS {
            readers.push(reader);
        }
        Ok(found)
    }
}

fn movie(row: &Row<'_>) -> rusqlite::Result<Movie> {
    let details = row.get_ref(2)?.as_str()?;
    let details = serde_json::from_str(details)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(2, Type::Text, Box::new(error)))?;
    Ok(Movie { id: row.get(0)?, title: row.get(1)?, details })
}

/// A panic elsewhere leaves a connection usable: SQLite rolls back what was not committed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
