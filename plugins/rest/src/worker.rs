//! The worker: requests become jobs, and jobs that come back become responses.

use std::cell::Cell;
use std::sync::Arc;

use mshost_plugin_api::{Context, Error, Job, JobError, Worker, export_plugin};
use tokio::task::JoinHandle;

use crate::config::RestConfig;
use crate::message::{Answer, FailedJob, Question};
use crate::pending::Pending;
use crate::server;
use crate::service::{Ask, Service};

/// The name of the socket in the topology: `listen = { http = "127.0.0.1:8080" }`.
const LISTENER: &str = "http";

/// Who gets the questions.
const PILOTS: &str = "WD:*";

/// A worker at the HTTP edge.
struct Rest {
    pending: Pending,
    server: Cell<Option<JoinHandle<()>>>,
}

impl Worker for Rest {
    type Config = RestConfig;

    async fn start(config: RestConfig, ctx: &Context) -> Result<Self, Error> {
        let listener = ctx.listener(LISTENER)?;
        let pending = Pending::new(config.max_pending.get() as usize);
        let service = Arc::new(Service::new(Bus(ctx.clone()), pending.clone(), config.clone()));
        let shutdown = ctx.shutdown();
        let server = ctx.spawn(async move {
            if let Err(error) = server::serve(listener, service, &config, shutdown).await {
                tracing::error!("the HTTP server has ended: {error}");
            }
        });
        Ok(Self { pending, server: Cell::new(Some(server)) })
    }

    async fn handle(&self, job: Job, _: &Context) -> Result<(), Error> {
        let answer: Answer = job.data()?;
        let id = answer.res_id.clone();
        if !self.pending.resolve(&id, Ok(answer)) {
            tracing::debug!("an answer came too late: nobody waits for {id} any more");
        }
        Ok(())
    }

    async fn on_error(&self, error: JobError, _: &Context) {
        match error.data::<FailedJob>() {
            Ok(job) => drop(self.pending.resolve(&job.res_id, Err(error.error))),
            // Its request ends by its timeout.
            Err(unreadable) => {
                tracing::warn!("job {} failed: {}; whose it was is unknown: {unreadable}", error.id, error.error)
            }
        }
    }

    /// The connections end first: their answers come to this worker's id.
    async fn drain(&self, _: &Context) {
        if let Some(server) = self.server.take()
            && let Err(error) = server.await
        {
            tracing::error!("the HTTP server has ended: {error}");
        }
    }
}

/// The bus, as the service sees it.
struct Bus(Context);

impl Ask for Bus {
    async fn ask(&self, question: Question) -> Result<(), String> {
        match self.0.send([PILOTS], &question).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

export_plugin! { workers: { "WA" => Rest } }
