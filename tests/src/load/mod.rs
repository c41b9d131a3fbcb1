//! Load on an HTTP server: N keep-alive connections that ask one after the other, and a report that names every failure.
//!
//! A failure is any request that was begun and did not get the expected status, whole and in time. The load goes on
//! after one. A connection that the server closes between two requests is no failure; one that it closes under a
//! request is.

mod connection;
mod report;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use connection::LoadConnection;
use report::{Live, LoadTally};
pub use report::{LoadReport, RequestFailure};

/// What to ask, and how hard.
#[derive(Debug, Clone)]
pub struct HttpLoad {
    /// Where.
    pub address: SocketAddr,
    /// The path of the `GET`.
    pub path: String,
    /// How many connections ask at the same time.
    pub connections: usize,
    /// The status that every response must have.
    pub expected_status: u16,
    /// How long a response may take.
    pub timeout: Duration,
}

impl HttpLoad {
    /// `GET path` on `connections` connections; 200 is expected, within 30 seconds.
    pub fn new(address: SocketAddr, path: impl Into<String>, connections: usize) -> Self {
        Self { address, path: path.into(), connections, expected_status: 200, timeout: Duration::from_secs(30) }
    }

    /// Runs for a while.
    pub async fn run_for(self, duration: Duration) -> LoadReport {
        let running = self.start();
        tokio::time::sleep(duration).await;
        running.stop().await
    }

    /// Starts, and goes on until [`RunningLoad::stop`].
    #[must_use]
    pub fn start(self) -> RunningLoad {
        let started = Instant::now();
        let stop = Arc::new(AtomicBool::new(false));
        let live = Arc::new(Live::default());
        let load = Arc::new(self);
        let mut tasks = JoinSet::new();
        for _ in 0..load.connections {
            let connection = LoadConnection::new(Arc::clone(&load), Arc::clone(&live), started);
            tasks.spawn(connection.run(Arc::clone(&stop)));
        }
        RunningLoad { started, stop, live, tasks }
    }
}

/// A load under way. Dropping it cuts the connections.
#[derive(Debug)]
pub struct RunningLoad {
    started: Instant,
    stop: Arc<AtomicBool>,
    live: Arc<Live>,
    tasks: JoinSet<LoadTally>,
}

impl RunningLoad {
    /// Requests so far that got what was expected.
    #[must_use]
    pub fn successes(&self) -> u64 {
        self.live.successes()
    }

    /// Requests so far that failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.live.failures()
    }

    /// Whether a response has come with this `x-served-by`.
    #[must_use]
    pub fn was_served_by(&self, version: &str) -> bool {
        self.live.was_served_by(version)
    }

    /// Lets every connection finish its request, and reports.
    pub async fn stop(mut self) -> LoadReport {
        self.stop.store(true, Ordering::Relaxed);
        let mut tally = LoadTally::default();
        while let Some(joined) = self.tasks.join_next().await {
            match joined {
                Ok(one) => tally.add(&one),
                Err(error) => self.live.fail(self.started.elapsed(), format!("the load tool failed: {error}")),
            }
        }
        LoadReport::new(self.started.elapsed(), tally, &self.live)
    }
}

#[cfg(test)]
mod tests;
