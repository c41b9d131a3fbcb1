//! One connection of a client that looks closely at how it ends.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::http_request::HttpAnswer;

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(30);

pub(super) struct ClientConnection {
    stream: TcpStream,
    address: SocketAddr,
    /// When the last request here was begun, or the connection. Whatever the server has said since, it said later.
    begun: Instant,
}

pub(super) enum ExchangeOutcome {
    Answered(HttpAnswer),
    ClosedIdle,
}

impl ClientConnection {
    pub fn open(address: SocketAddr) -> Result<Self, String> {
        let begun = Instant::now();
        let stream = TcpStream::connect_timeout(&address, LIMIT).map_err(|error| format!("not let in: {error}"))?;
        let set = stream.set_read_timeout(Some(LIMIT)).and_then(|()| stream.set_nodelay(true));
        set.map_err(|error| format!("cannot set it up: {error}"))?;
        Ok(Self { stream, address, begun })
    }

    /// One request to `/movies/`.
    pub fn exchange(&mut self, method: &str, body: &str, linger: Duration) -> Result<ExchangeOutcome, String> {
        let before = std::mem::replace(&mut self.begun, Instant::now());
        let (address, length) = (self.address, body.len());
        let request =
            format!("{method} /movies/ HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{body}");
        match self.stream.write_all(request.as_bytes()) {
            // It has closed long ago: the reading tells.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            written => written.map_err(|error| format!("cannot send: {error}"))?,
        }
        if let Some(answer) = self.read()? {
            return Ok(ExchangeOutcome::Answered(answer));
        }
        match before.elapsed() {
            idle if idle < linger => Err(format!("closed without an answer, idle for {idle:?} of {linger:?} at most")),
            _ => Ok(ExchangeOutcome::ClosedIdle),
        }
    }

    /// After an answer that was the last: an end, and no reset.
    pub fn expect_end(mut self) -> Result<(), String> {
        match self.stream.read(&mut [0; 64]) {
            Ok(0) => Ok(()),
            Ok(more) => Err(format!("{more} bytes after the answer")),
            Err(error) => Err(format!("no end after the last answer: {error}")),
        }
    }

    /// A whole answer, or `None` at the end of the stream before its first byte.
    fn read(&mut self) -> Result<Option<HttpAnswer>, String> {
        let mut bytes = Vec::new();
        let mut chunk = [0; 16 << 10];
        loop {
            if let Some((answer, length)) = whole(&bytes) {
                let more = answer.body.len() - length;
                return if more == 0 { Ok(Some(answer)) } else { Err(format!("{more} bytes after the answer")) };
            }
            match self.stream.read(&mut chunk) {
                Ok(0) if bytes.is_empty() => return Ok(None),
                Ok(0) => return Err(format!("cut off after {:?}", String::from_utf8_lossy(&bytes))),
                Ok(read) => bytes.extend_from_slice(&chunk[..read]),
                Err(error) => return Err(format!("no answer: {error}, after {} bytes of it", bytes.len())),
            }
        }
    }
}

/// The answer, once all of it is there, and how long its body should be.
fn whole(bytes: &[u8]) -> Option<(HttpAnswer, usize)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    })?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    (body.len() >= length).then(|| (HttpAnswer { status, head: head.to_owned(), body: body.to_owned() }, length))
}
