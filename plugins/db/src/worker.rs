//! The worker: jobs in, answers out.

use mshost_plugin_api::{BlockingWorker, Context, Error, Job, export_plugin};
use serde_json::Value;

use crate::answer::answer;
use crate::config::DbConfig;
use crate::message::Query;
use crate::store::Store;

/// A database worker.
struct Db {
    store: Store,
    list_limit: u32,
}

impl BlockingWorker for Db {
    type Config = DbConfig;

    fn start(config: DbConfig, _: &Context) -> Result<Self, Error> {
        Ok(Self { store: Store::open(&config.path)?, list_limit: config.list_limit.get() })
    }

    fn handle(&self, job: Job, ctx: &Context) -> Result<(), Error> {
        let query: Query = job.data()?;
        let request = request_key(&job, &query.res_id);
        let timer = ctx.metrics().time("db_operation");
        let answer = answer(&self.store, self.list_limit, query, &request)?;
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
