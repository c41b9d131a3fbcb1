//! What is kept as dead letters: by RabbitMQ, seen by a client that knows nothing of the engine but the name of the queue, and by
//! a host whose bus is embedded or, once that is down, its journal.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use lapin::options::BasicGetOptions;
use lapin::{Connection, ConnectionProperties};
use serde_json::Value;
use tokio::time::timeout;

use crate::http_request;

/// The queue of the dead letters.
const QUEUE: &str = "mshost.dead";

/// The most that a host shows at a time.
const MOST: usize = 10_000;

/// How long all of them may take. A network or a broker that was broken on purpose may not answer at all.
const LIMIT: Duration = Duration::from_secs(60);

/// The ids of all dead letters of a bus. Each is taken and goes back, in its order, with the connection; what a host looks at
/// in that moment is not seen.
///
/// # Errors
/// Where the broker cannot be asked, or does not answer in time.
pub fn ids(url: &str) -> Result<Vec<String>, lapin::Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let looking = async { timeout(LIMIT, look(url)).await };
    let looked = runtime.expect("a runtime").block_on(looking);
    looked.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}

async fn look(url: &str) -> Result<Vec<String>, lapin::Error> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let mut ids = Vec::new();
    while let Some(message) = channel.basic_get(QUEUE.into(), BasicGetOptions::default()).await? {
        ids.extend(message.delivery.properties.message_id().as_ref().map(ToString::to_string));
    }
    connection.close(200, "looked".into()).await?;
    Ok(ids)
}

/// A dead letter as its host tells of it.
#[derive(Debug, Clone)]
pub struct DeadLetterLine {
    /// The id of its job.
    pub id: String,
    /// Why it is dead, in one line.
    pub why: String,
}

/// All dead letters of a host.
///
/// # Errors
/// Where it does not answer, or has more of them than it shows.
pub fn of_host(admin: SocketAddr) -> Result<Vec<DeadLetterLine>, String> {
    let answer =
        http_request::get(admin, &format!("/api/dead-letters?limit={MOST}")).map_err(|error| error.to_string())?;
    let list = answer.json();
    let letters = list["letters"].as_array().ok_or_else(|| format!("no list of dead letters: {}", answer.body))?;
    if list["truncated"] == true {
        return Err(format!("there are more than {MOST} dead letters"));
    }
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let why = |letter: &Value| {
        let [reason, worker, error] = ["reason", "worker", "error"].map(|key| text(&letter[key]));
        format!("{reason} by {worker}: {error}")
    };
    Ok(letters.iter().map(|letter| DeadLetterLine { id: text(&letter["id"]), why: why(letter) }).collect())
}

/// All dead letters in the folder of a bus's journal, whose host is down.
///
/// # Errors
/// Where it cannot be read.
pub fn of_journal(bus: &Path) -> Result<Vec<DeadLetterLine>, String> {
    let read = || -> rusqlite::Result<_> {
        let connection = rusqlite::Connection::open(bus.join("journal.sqlite"))?;
        let mut rows = connection.prepare("SELECT id, reason, ifnull(worker, '?'), error FROM dead ORDER BY at")?;
        let letter = |row: &rusqlite::Row<'_>| {
            let [id, reason, worker, error]: [String; 4] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
            Ok(DeadLetterLine { id, why: format!("{reason} by {worker}: {error}") })
        };
        rows.query_map([], letter)?.collect()
    };
    read().map_err(|error| format!("the journal's dead letters cannot be read: {error}"))
}
