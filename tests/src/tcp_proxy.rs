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

/// Forwards TCP until told otherwise. Stops when dropped.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Counts up with each cut; connections from before it end.
    cuts: watch::Sender<u64>,
    /// Counts up with each half-close; connections from before it are closed by half.
    halves: watch::Sender<u64>,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy to `target` on a free port of the loopback.
    ///
    /// # Panics
    /// Where no port is free.
    pub async fn start(target: SocketAddr) -> Self {
        Self::balance(vec![target]).await
    }

    /// Starts a proxy that connects to the first of `targets` that takes the connection.
    ///
    /// # Panics
    /// Where no port is free.
    pub async fn balance(targets: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (mode, cuts, halves) = (watch::Sender::new(Mode::Forward), watch::Sender::new(0), watch::Sender::new(0));
        let accepted = Arc::new(AtomicUsize::new(0));
        let (mode_rx, cuts_rx, halves_rx) = (mode.subscribe(), cuts.subscribe(), halves.subscribe());
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                if *mode_rx.borrow() != Mode::Refuse {
                    let (mut cuts, mut halves) = (cuts_rx.clone(), halves_rx.clone());
                    cuts.mark_unchanged();
                    halves.mark_unchanged();
                    tokio::spawn(connection(client, targets.clone(), mode_rx.clone(), cuts, halves));
                }
            }
        });
        Self { addr, mode, cuts, halves, accepted, task }
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

    /// Closes one direction of every connection: clients read its end, while what they say still reaches a server that
    /// has not noticed anything. New connections work.
    pub fn half_close(&self) {
        self.halves.send_modify(|count| *count += 1);
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
    targets: Vec<SocketAddr>,
    mode: watch::Receiver<Mode>,
    mut cuts: watch::Receiver<u64>,
    mut halves: watch::Receiver<u64>,
) {
    let Ok(server) = TcpStream::connect(&*targets).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let backward = async {
        let mut client_write = client_write;
        tokio::select! {
            () = pass(server_read, &mut client_write, mode.clone(), &[Mode::Forward, Mode::OneWay]) => {}
            Ok(()) = halves.changed() => {
                let _ = client_write.shutdown().await;
                std::future::pending::<()>().await;
            }
        }
    };
    let mut server_write = server_write;
    tokio::select! {
        () = pass(client_read, &mut server_write, mode.clone(), &[Mode::Forward]) => {}
        () = backward => {}
        // Also when the proxy is gone.
        _ = cuts.changed() => {}
    }
}

/// Passes bytes on while `mode` is one of `open`.
async fn pass(
    mut from: OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
    open: &'static [Mode],
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        if mode.wait_for(|mode| open.contains(mode)).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_half_closed_connection_still_speaks_to_the_server() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(server.local_addr().unwrap()).await;
        let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
        let (mut served, _) = server.accept().await.unwrap();
        let mut byte = [0];
        served.write_all(b"a").await.unwrap();
        client.read_exact(&mut byte).await.unwrap();
        proxy.half_close();
        assert_eq!(client.read(&mut byte).await.unwrap(), 0, "the client reads the end");
        client.write_all(b"b").await.unwrap();
        served.read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"b");
        drop(client);
        assert_eq!(served.read(&mut byte).await.unwrap(), 0, "the server reads the end once the client has gone");
    }
}
