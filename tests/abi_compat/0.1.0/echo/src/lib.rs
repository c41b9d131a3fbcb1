//! A plugin that does what its jobs say: `EC` async, `EB` blocking.
#![allow(clippy::disallowed_methods)] // a fixture blocks its thread on purpose

use std::time::Duration;

use mshost_plugin_api::{BlockingWorker, Context, Error, Job, JobError, Worker, export_plugin, tokio};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the workers start.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What `start` does.
    start: Start,
    /// Sets the value `stopped` to 1 in `stop`.
    tell_stop: bool,
}

/// What `start` does.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Nothing more.
    #[default]
    Well,
    /// Fails.
    Fail,
    /// Panics.
    Panic,
    /// Spawns a task that sets the value `background` again and again, until it is aborted.
    Spawn,
}

/// What a job asks for.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Order {
    /// Returns `Ok`.
    Ok,
    /// Fails in a way that may pass.
    Fail,
    /// Fails for good.
    FailForGood,
    /// Panics.
    Panic,
    /// Panics, and once more while what it held is dropped.
    PanicTwice,
    /// Panics with a payload that panics when it is dropped.
    PanicPayload,
    /// Sets the value `sleeping` to 1, sleeps, and sets it to 2; when it is cancelled, to 3.
    Sleep {
        /// How long.
        ms: u64,
    },
    /// As `Sleep`, with the thread.
    Block {
        /// How long.
        ms: u64,
    },
    /// Sends the order to a route.
    Send {
        /// Where to.
        to: Vec<String>,
    },
    /// Forwards the order.
    Forward,
    /// Calls a blocking send, wherever it is.
    BlockingSend {
        /// Where to.
        to: Vec<String>,
    },
    /// Sends the order from a spawned task.
    SpawnSend {
        /// Where to.
        to: Vec<String>,
    },
    /// Logs.
    Log,
    /// Listens on the socket `http`, and sets the value `port`.
    Listen,
    /// Measures.
    Time,
    /// Waits for the shutdown.
    AwaitShutdown,
}

struct Cancelled<'a>(&'a Context, bool);

impl Drop for Cancelled<'_> {
    fn drop(&mut self) {
        self.0.metrics().set("sleeping", if self.1 { 2.0 } else { 3.0 });
    }
}

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("in drop");
    }
}

struct Echo(Config);

impl Worker for Echo {
    type Config = Config;

    async fn start(config: Config, ctx: &Context) -> Result<Self, Error> {
        start(&config, ctx)?;
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(Self(config))
    }

    async fn handle(&self, job: Job, ctx: &Context) -> Result<(), Error> {
        match job.data::<Order>()? {
            Order::Sleep { ms } => {
                let mut cancelled = Cancelled(ctx, false);
                ctx.metrics().set("sleeping", 1.0);
                tokio::time::sleep(Duration::from_millis(ms)).await;
                cancelled.1 = true;
            }
            Order::PanicTwice => {
                let _again = std::mem::ManuallyDrop::new(PanicsInDrop);
                let held = PanicsInDrop;
                tokio::time::sleep(Duration::from_millis(1)).await;
                drop(held);
            }
            order @ Order::Forward => drop(job.forward(&order).await?),
            Order::Send { to } => drop(ctx.send(&to, "sent").await?),
            Order::SpawnSend { to } => {
                let task = ctx.clone();
                drop(ctx.spawn(async move { task.send(&to, "sent").await }).await??);
            }
            Order::AwaitShutdown => ctx.shutdown().await,
            order => in_any_worker(&order, &job, ctx)?,
        }
        Ok(())
    }

    async fn on_error(&self, error: JobError, ctx: &Context) {
        heard(&error, ctx);
    }

    async fn stop(self, ctx: &Context) {
        if self.0.tell_stop {
            ctx.metrics().set("stopped", 1.0);
        }
    }
}

struct Blocking(Config);

impl BlockingWorker for Blocking {
    type Config = Config;

    fn start(config: Config, ctx: &Context) -> Result<Self, Error> {
        start(&config, ctx)?;
        Ok(Self(config))
    }

    fn handle(&self, job: Job, ctx: &Context) -> Result<(), Error> {
        match job.data::<Order>()? {
            Order::Sleep { ms } | Order::Block { ms } => {
                ctx.metrics().set("sleeping", 1.0);
                std::thread::sleep(Duration::from_millis(ms));
                ctx.metrics().set("sleeping", 2.0);
            }
            order @ Order::Forward => drop(job.blocking_forward(&order)?),
            Order::Send { to } => drop(ctx.blocking_send(&to, "sent")?),
            order => in_any_worker(&order, &job, ctx)?,
        }
        Ok(())
    }

    fn on_error(&self, error: JobError, ctx: &Context) {
        heard(&error, ctx);
    }

    fn stop(self, ctx: &Context) {
        if self.0.tell_stop {
            ctx.metrics().set("stopped", 1.0);
        }
    }
}

fn start(config: &Config, ctx: &Context) -> Result<(), Error> {
    match config.start {
        Start::Well => {}
        Start::Fail => return Err(Error::permanent("told to fail")),
        Start::Panic => panic!("told to panic"),
        Start::Spawn => {
            let task = ctx.clone();
            ctx.spawn(async move {
                loop {
                    task.metrics().set("background", 1.0);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        }
    }
    Ok(())
}

fn in_any_worker(order: &Order, job: &Job, ctx: &Context) -> Result<(), Error> {
    match order {
        Order::Fail => Err(Error::new("told to fail")),
        Order::FailForGood => Err(Error::permanent("told to fail for good")),
        Order::Panic => panic!("told to panic"),
        Order::PanicPayload => std::panic::panic_any(PanicsInDrop),
        Order::Block { ms } => {
            std::thread::sleep(Duration::from_millis(*ms));
            Ok(())
        }
        Order::BlockingSend { to } => {
            ctx.blocking_send(to, "sent")?;
            Ok(())
        }
        Order::Log => {
            let span = tracing::info_span!("order", job = %job.id);
            span.in_scope(|| tracing::info!(count = 3, name = "x", "told to log"));
            Ok(())
        }
        Order::Listen => {
            let port = ctx.listener("http")?.local_addr()?.port();
            ctx.metrics().set("port", f64::from(port));
            Ok(())
        }
        Order::Time => {
            drop(ctx.metrics().time("db_operation"));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn heard(error: &JobError, ctx: &Context) {
    let order = error.data::<Order>().map_or_else(|error| error.to_string(), |order| format!("{order:?}"));
    tracing::warn!(order, reporter = ?error.reporter.as_ref().map(|who| &who.id), "heard: {}", error.error);
    ctx.metrics().set("errors", 1.0);
}

export_plugin! { workers: { "EC" => Echo, "EB" => blocking Blocking } }
