//! The worker: jobs in, answers out.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use mshost_plugin_api::{BlockingWorker, Context, Error, Job, export_plugin};
use serde_json::Value;

use crate::answer::answer;
use crate::config::DbConfig;
use crate::message::Query;
use crate::ownership::Ownership;
use crate::schema;
use crate::store::Store;

/// How long a version may take to let go of the file, in the next one's first job.
const TAKE_OVER: Duration = Duration::from_secs(30);

/// A database worker.
struct Db {
    path: PathBuf,
    opened: OnceLock<Opened>,
    opening: Mutex<()>,
    list_limit: u32,
}

/// Field order is drop order: the connections go before the right to have them.
struct Opened {
    store: Store,
    _ownership: Ownership,
}

impl Db {
    /// The movies. The version before this one may have to let go of them first.
    fn store(&self) -> Result<&Store, Error> {
        if self.opened.get().is_none() {
            let _one = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
            if self.opened.get().is_none() {
                let opened = open(&self.path, Ownership::of(&self.path, TAKE_OVER)?)?;
                let _ = self.opened.set(opened);
            }
        }
        self.opened.get().map(|opened| &opened.store).ok_or_else(|| Error::new("the database is not open"))
    }
}

fn open(path: &Path, ownership: Ownership) -> Result<Opened, Error> {
    Ok(Opened { store: Store::open(path)?, _ownership: ownership })
}

impl BlockingWorker for Db {
    type Config = DbConfig;

    fn start(config: DbConfig, _: &Context) -> Result<Self, Error> {
        let DbConfig { path, list_limit } = config;
        schema::make_folder(&path)?;
        let opened = OnceLock::new();
        // A file that cannot be used is best heard of now. While the version before this one has it, it can.
        if let Some(ownership) = Ownership::try_of(&path)? {
            let _ = opened.set(open(&path, ownership)?);
        }
        Ok(Self { path, opened, opening: Mutex::default(), list_limit: list_limit.get() })
    }

    fn handle(&self, job: Job, ctx: &Context) -> Result<(), Error> {
        let query: Query = job.data()?;
        let request = request_key(&job, &query.res_id);
        let timer = ctx.metrics().time("db_operation");
        let answer = answer(self.store()?, self.list_limit, query, &request)?;
        drop(timer);
        job.blocking_forward(&answer)?;
        Ok(())
    }
}

/// Names a request the same way however often its job is delivered. The correlation alone would do for our own jobs; the
/// original's ids collide within a millisecond, so who asked, and which of his requests it is, belong to the name.
fn request_key(job: &Job, res_id: &Value) -> String {
    format!("{}/{}/{res_id}", job.origin.id, job.correlation)
}

export_plugin! { workers: { "WB" => blocking Db } }
