//! Letting go without failing a request.

use std::sync::Mutex;
use std::time::Duration;

use rest::config::RestConfig;
use rest::message::Answer;
use rest::units::Time;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::server::{Reaction, Server, content, until, within};

#[tokio::test]
async fn a_request_in_flight_is_answered_after_the_shutdown() {
    let ids = std::sync::Arc::new(Mutex::new(None));
    let mut server = Server::start(RestConfig::default(), {
        let ids = std::sync::Arc::clone(&ids);
        move |question| {
            *ids.lock().unwrap() = Some(question.res_id.clone());
            Reaction::Silence
        }
    });
    let mut client = Client::connect(server.address).await;
    client.write("GET /movies/ HTTP/1.1\r\nHost: test\r\n\r\n").await;
    until(|| ids.lock().unwrap().is_some()).await;
    server.shut_down();
    let id = ids.lock().unwrap().clone().unwrap();
    // The answer comes when nothing is accepted any more.
    within(async { while TcpStream::connect(server.address).await.is_ok() {} }).await;
    assert!(server.pending.resolve(&id, Ok(Answer { content: json!([]), ..Answer::default() })));
    let response = within(client.read()).await.unwrap();
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    assert!(within(client.read()).await.is_none());
    server.ended().await;
}

#[tokio::test]
async fn an_idle_connection_may_ask_once_more() {
    let config = RestConfig { linger: Time(Duration::from_secs(3_600)), ..RestConfig::default() };
    let mut server = Server::start(config, |_| content(json!([])));
    let mut client = Client::connect(server.address).await;
    assert_eq!(within(client.get("/movies/")).await.header("connection"), None);
    server.shut_down();
    within(async { while TcpStream::connect(server.address).await.is_ok() {} }).await;
    let response = within(client.get("/movies/")).await;
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    // It was the last connection: nothing keeps the server for the rest of the hour.
    server.ended().await;
}

#[tokio::test]
async fn an_idle_connection_that_stays_idle_is_closed() {
    let config = RestConfig { linger: Time(Duration::from_millis(20)), ..RestConfig::default() };
    let mut server = Server::start(config, |_| content(json!([])));
    let mut client = Client::connect(server.address).await;
    assert_eq!(within(client.get("/movies/")).await.status, 200);
    server.shut_down();
    assert!(within(client.read()).await.is_none());
    server.ended().await;
}

/// The kernel resets a connection that is closed while the client still sends, and the response may be lost with it.
#[tokio::test]
async fn a_client_that_still_sends_is_not_reset() {
    let server = Server::start(RestConfig::default(), |_| content(json!([])));
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"POST /movies/ HTTP/1.1\r\nHost: test\r\nContent-Length: 1048576\r\n\r\n").await.unwrap();
    let mut response = Vec::new();
    within(stream.read_to_end(&mut response)).await.unwrap();
    assert!(response.starts_with(b"HTTP/1.1 413"), "{:?}", String::from_utf8_lossy(&response));
    for _ in 0..2 {
        stream.write_all(&[b' '; 4_096]).await.expect("no reset");
    }
}
