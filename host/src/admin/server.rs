//! The admin server's sockets: bound once, limited in every direction, stopped gracefully.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use mshost_core::metrics::Metrics;
use mshost_core::status::StatusSource;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::dead_letters::DeadLetterSource;
use super::reload::ReloadSource;
use super::request_guard::RequestGuard;
use super::routes::AdminRoutes;
use super::worker_restart::WorkerRestarter;

/// How long to wait after an `accept` that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where the admin server listens, and its limits.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// Its address (`host.admin`).
    pub address: SocketAddr,
    /// What requests must show as `Authorization: Bearer TOKEN`, the probes excepted. Needed beyond loopback.
    pub token: Option<String>,
    /// The most connections at a time; more wait in the kernel's backlog.
    pub max_connections: usize,
    /// How long a client may take to send a request's head; also how long an idle connection is kept.
    pub header_timeout: Duration,
    /// How long a connection lives at most, idle or not.
    pub connection_lifetime: Duration,
    /// The largest body of a request, in bytes.
    pub max_body: usize,
    /// How long requests may take to finish when the server stops.
    pub drain: Duration,
}

impl AdminConfig {
    /// The default limits.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            token: None,
            max_connections: 64,
            header_timeout: Duration::from_secs(10),
            connection_lifetime: Duration::from_secs(300),
            max_body: 1024,
            drain: Duration::from_secs(2),
        }
    }
}

impl fmt::Debug for AdminConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminConfig").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Why the admin server cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Another program has the port.
    #[error("the admin address {0} is taken by another program: stop it, or set another `host.admin` in the topology")]
    Taken(SocketAddr),
    /// Every client that reaches it could read and reload.
    #[error("the admin address {0} can be reached from other machines: set a token for it, or bind it to 127.0.0.1")]
    Unguarded(SocketAddr),
    /// The address cannot be bound.
    #[error("cannot listen on the admin address {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// The admin server, bound and not yet serving.
pub struct AdminServer {
    listener: TcpListener,
    address: SocketAddr,
    config: AdminConfig,
    routes: Arc<AdminRoutes>,
}

impl fmt::Debug for AdminServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl AdminServer {
    /// Takes the port.
    ///
    /// # Errors
    /// Where the address is taken, cannot be bound, or is open to other machines without a token.
    pub async fn bind(
        config: AdminConfig,
        metrics: Arc<Metrics>,
        source: Arc<dyn StatusSource>,
        dead_letters: Arc<dyn DeadLetterSource>,
        workers: Arc<dyn WorkerRestarter>,
        reload: Arc<dyn ReloadSource>,
    ) -> Result<Self, AdminError> {
        let address = config.address;
        if !address.ip().is_loopback() && config.token.as_deref().unwrap_or_default().is_empty() {
            return Err(AdminError::Unguarded(address));
        }
        let bound = TcpListener::bind(address).await.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = bound.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => AdminError::Taken(address),
            _ => AdminError::Bind { address, source },
        })?;
        let guard = RequestGuard::new(address, config.token.clone());
        let routes = AdminRoutes { metrics, source, dead_letters, workers, reload, guard, max_body: config.max_body };
        Ok(Self { listener, address, config, routes: Arc::new(routes) })
    }

    /// Where it listens; the real port where port 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is cancelled, then lets requests finish for at most `drain`.
    pub async fn run(self, stop: CancellationToken) {
        let Self { listener, address, config, routes } = self;
        info!(%address, "admin server listening");
        let graceful = GracefulShutdown::new();
        let cut = CancellationToken::new();
        let _cut_at_the_end = cut.clone().drop_guard();
        let slots = Arc::new(Semaphore::new(config.max_connections));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = accept(&listener, &slots) => accepted,
            };
            if let Some((stream, slot)) = accepted {
                let connection = serve(stream, &config, &routes, &graceful);
                let cut = cut.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = connection => {}
                        () = cut.cancelled() => {}
                    }
                    drop(slot);
                });
            }
        }
        drop(listener);
        if tokio::time::timeout(config.drain, graceful.shutdown()).await.is_err() {
            warn!(%address, "admin requests cut off: they did not finish in time");
        }
    }
}

/// The next connection, once there is a free slot for it.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, slot)),
        Err(error) => {
            warn!(%error, "cannot accept an admin connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// One connection, from its first request to its end.
fn serve(
    stream: TcpStream,
    config: &AdminConfig,
    routes: &Arc<AdminRoutes>,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + Send + use<> {
    let routes = Arc::clone(routes);
    let service = service_fn(move |request| {
        let routes = Arc::clone(&routes);
        async move { Ok::<_, Infallible>(routes.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_headers(64)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let connection = tokio::time::timeout(config.connection_lifetime, graceful.watch(connection));
    async move {
        if let Ok(Err(error)) = connection.await {
            debug!(%error, "admin connection ended");
        }
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
