//! Connections: accepted up to a limit, served, and let go without failing a request.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::config::RestConfig;
use crate::service::{Ask, Service};
use crate::stream::Stream;

/// The pause after an `accept` that failed: out of file descriptors, most often, which one must wait out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How far the server is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// Nothing is accepted. Each response says that it is the last of its connection.
    Lingering,
    /// Idle connections are closed.
    Closing,
}

/// Serves until `shutdown` resolves, then lets the connections end and returns when the last one has. Dropping the
/// future cuts them.
///
/// # Errors
/// Where the listener cannot be used at all. What happens on a connection stays there.
pub async fn serve<A: Ask>(
    listener: std::net::TcpListener,
    service: Arc<Service<A>>,
    config: &RestConfig,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let (phase, phases) = watch::channel(Phase::Serving);
    let mut connections = JoinSet::new();
    let places = Arc::new(Semaphore::new(config.max_connections.get() as usize));
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else { continue };
        let connection = serve_connection(stream, Arc::clone(&service), config.read_timeout.0, phases.clone());
        connections.spawn(async move {
            connection.await;
            drop(place);
        });
    }
    // Whoever takes over accepts from the same socket.
    drop(listener);
    phase.send_replace(Phase::Lingering);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(config.linger.0, ended).await.is_err() {
        phase.send_replace(Phase::Closing);
        while connections.join_next().await.is_some() {}
    }
    Ok(())
}

/// The next connection and its place. Without a free place nothing is accepted.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!("cannot accept a connection: {error}");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn serve_connection<A: Ask>(
    stream: TcpStream,
    service: Arc<Service<A>>,
    read_timeout: Duration,
    mut phases: watch::Receiver<Phase>,
) {
    let phase = phases.clone();
    let respond = service_fn(|request: hyper::Request<Incoming>| {
        let (service, phase) = (&service, &phase);
        async move {
            let mut reply = service.respond(request).await;
            if *phase.borrow() > Phase::Serving {
                reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(reply)
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(read_timeout)
            .serve_connection(TokioIo::new(Stream::new(stream)), respond)
    );
    let closing = async {
        let _ = phases.wait_for(|phase| *phase == Phase::Closing).await;
    };
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = closing => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!("a connection ended early: {error}");
    }
}
