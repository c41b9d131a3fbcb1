//! One HTTP request over one connection, for tests that look at single answers.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// The head, as it came.
    pub head: String,
    /// The body, as it came.
    pub body: String,
}

impl HttpAnswer {
    /// The body as JSON, `null` where it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// `GET path`.
///
/// # Errors
/// Where no whole answer came within 15 s.
pub fn get(address: SocketAddr, path: &str) -> io::Result<HttpAnswer> {
    request(address, "GET", path, None)
}

/// `POST path` with a body.
///
/// # Errors
/// Where no whole answer came within 15 s.
pub fn post(address: SocketAddr, path: &str, body: &str) -> io::Result<HttpAnswer> {
    request(address, "POST", path, Some(body))
}

/// Any request.
///
/// # Errors
/// Where no whole answer came within 15 s.
pub fn request(address: SocketAddr, method: &str, path: &str, body: Option<&str>) -> io::Result<HttpAnswer> {
    let limit = Some(Duration::from_secs(15));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(limit)?;
    stream.set_write_timeout(limit)?;
    let body = body.unwrap_or_default();
    let length = body.len();
    let sent = write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    // A server may answer and close before it has read all of a body that it refuses.
    sent.or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("not an HTTP answer: {text:?}")))
}

fn parse(text: &str) -> Option<HttpAnswer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(HttpAnswer { status, head: head.to_owned(), body: body.to_owned() })
}
