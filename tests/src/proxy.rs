//! A TCP proxy that breaks connections in the ways that networks do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the proxy does to its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Passes everything on.
    Forward,
    /// Keeps connections open and passes nothing on, as a network does that drops packets.
    Stall,
    /// Passes on what the server says, and nothing of what the client says.
    OneWay,
    /// Closes connections, and every new one.
    Refuse,
}

/// Forwards TCP to one address until told otherwise. Stops when dropped.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Counts up with each cut; connections from before it end.
    cuts: watch::Sender<u64>,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy to `target` on a free port of the loopback.
    ///
    /// # Panics
    /// Where no port is free.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (mode, cuts) = (watch::Sender::new(Mode::Forward), watch::Sender::new(0));
        let accepted = Arc::new(AtomicUsize::new(0));
        let (mode_rx, cuts_rx, count) = (mode.subscribe(), cuts.subscribe(), Arc::clone(&accepted));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                if *mode_rx.borrow() != Mode::Refuse {
                    let mut cuts = cuts_rx.clone();
                    cuts.mark_unchanged();
                    tokio::spawn(connection(client, target, mode_rx.clone(), cuts));
                }
            }
        });
        Self { addr, mode, cuts, accepted, task }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many connections it has been asked for.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Cuts every connection; new ones work.
    pub fn cut(&self) {
        self.cuts.send_modify(|count| *count += 1);
    }

    /// Cuts every connection and closes new ones at once, until [`Proxy::heal`].
    pub fn refuse(&self) {
        self.mode.send_replace(Mode::Refuse);
        self.cut();
    }

    /// Passes nothing on, until [`Proxy::heal`].
    pub fn stall(&self) {
        self.mode.send_replace(Mode::Stall);
    }

    /// Passes on nothing of what clients say, until [`Proxy::heal`].
    pub fn one_way(&self) {
        self.mode.send_replace(Mode::OneWay);
    }

    /// Passes everything on again, also what was held back.
    pub fn heal(&self) {
        self.mode.send_replace(Mode::Forward);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(
    client: TcpStream,
    target: SocketAddr,
    mode: watch::Receiver<Mode>,
    mut cuts: watch::Receiver<u64>,
) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    tokio::select! {
        () = pass(client_read, server_write, mode.clone(), &[Mode::Forward]) => {}
        () = pass(server_read, client_write, mode, &[Mode::Forward, Mode::OneWay]) => {}
        // Also when the proxy is gone.
        _ = cuts.changed() => {}
    }
}

/// Passes bytes on while `mode` is one of `open`.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>, open: &'static [Mode]) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        if mode.wait_for(|mode| open.contains(mode)).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
