//! A client that writes what it is told, well formed or not.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A response, read to its end.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    head: String,
    pub body: Value,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub fn error(&self) -> &str {
        self.body["error"].as_str().unwrap_or_else(|| panic!("no error in {self:?}"))
    }
}

/// One connection.
pub struct Client {
    stream: TcpStream,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap() }
    }

    pub async fn write(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.unwrap();
    }

    pub async fn get(&mut self, path: &str) -> Response {
        self.write(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
        self.read().await.expect("a response")
    }

    pub async fn post(&mut self, path: &str, body: &str) -> Response {
        let length = body.len();
        self.write(&format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}")).await;
        self.read().await.expect("a response")
    }

    /// The next response, or `None` where the server has closed the connection.
    pub async fn read(&mut self) -> Option<Response> {
        let mut bytes = Vec::new();
        let head_end = loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if self.stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                assert!(bytes.is_empty(), "cut off in the head: {:?}", String::from_utf8_lossy(&bytes));
                return None;
            }
        };
        let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
        let mut response = Response { status: head[9..12].parse().unwrap(), head, body: Value::Null };
        let length: usize = response.header("content-length").unwrap().parse().unwrap();
        while bytes.len() < head_end + length {
            assert_ne!(self.stream.read_buf(&mut bytes).await.unwrap(), 0, "cut off in the body");
        }
        assert_eq!(response.header("content-type"), Some("application/json"));
        response.body = serde_json::from_slice(&bytes[head_end..]).unwrap();
        Some(response)
    }
}
