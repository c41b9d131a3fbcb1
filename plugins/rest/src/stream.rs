//! A connection's stream that is closed without cutting off the client.
//!
//! The kernel resets a connection that is closed while something unread has come: a client that was about to ask, or was
//! still sending a body that is refused, would lose the last response with it. So the end is said first, and what
//! comes after it is thrown away until the client has closed, too.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// How long a client may take to close its end once ours is closed.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// How much of a client that does not stop is thrown away, in bytes.
const MAX_DISCARDED: usize = 4 << 20;

/// How much of it at a time, in bytes.
const SCRATCH: usize = 4 << 10;

/// See the module. `poll_shutdown` is where it closes.
#[derive(Debug)]
pub struct Stream {
    tcp: TcpStream,
    farewell: Option<Farewell>,
}

/// Our end is closed.
#[derive(Debug)]
struct Farewell {
    limit: Pin<Box<Sleep>>,
    discarded: usize,
}

impl Stream {
    /// Takes over a connection.
    #[must_use]
    pub fn new(tcp: TcpStream) -> Self {
        // Responses are written whole; waiting for more to send would only delay them.
        let _ = tcp.set_nodelay(true);
        Self { tcp, farewell: None }
    }

    fn tcp(self: Pin<&mut Self>) -> Pin<&mut TcpStream> {
        Pin::new(&mut self.get_mut().tcp)
    }
}

impl Farewell {
    /// Ready once nothing more is to be expected of the client.
    fn poll(&mut self, tcp: &mut TcpStream, cx: &mut Context<'_>) -> Poll<()> {
        while self.discarded < MAX_DISCARDED {
            let mut scratch = [0; SCRATCH];
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *tcp).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => self.discarded += buffer.filled().len(),
                // It has closed, or is gone.
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.limit.as_mut().poll(cx),
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.tcp().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.tcp().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.tcp().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { tcp, farewell } = self.get_mut();
        if farewell.is_none() {
            ready!(Pin::new(&mut *tcp).poll_shutdown(cx))?;
        }
        let farewell = farewell.get_or_insert_with(|| Farewell { limit: Box::pin(sleep(LAST_LOOK)), discarded: 0 });
        farewell.poll(tcp, cx).map(Ok)
    }
}
