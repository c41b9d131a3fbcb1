//! Nothing is unbounded: time, size, connections, waiting requests.

use std::num::NonZeroU32;
use std::time::Duration;

use rest::config::RestConfig;
use rest::units::{Size, Time};
use serde_json::json;

use crate::client::Client;
use crate::server::{Reaction, Server, content, until, within};

const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_announced_or_not() {
    let config = RestConfig { body_limit: Size(64), ..RestConfig::default() };
    let server = Server::start(config, |_| content(json!({"id": 4})));
    let title = |chars: usize| format!(r#"{{"title":"{}"}}"#, "x".repeat(chars - 12));
    assert_eq!(server.post("/movies/", &title(64)).await.status, 201);
    let response = server.post("/movies/", &title(65)).await;
    assert_eq!((response.status, response.error()), (413, "the body may have at most 64 bytes"));

    let mut client = Client::connect(server.address).await;
    client.write("POST /movies/ HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.write(&format!("41\r\n{}\r\n0\r\n\r\n", title(65))).await;
    assert_eq!(within(client.read()).await.unwrap().status, 413);
}

#[tokio::test]
async fn silence_on_the_bus_ends() {
    let config = RestConfig { request_timeout: Time(SHORT), ..RestConfig::default() };
    let server = Server::start(config, |_| Reaction::Silence);
    let response = server.get("/movies/").await;
    assert_eq!((response.status, response.error()), (504, "no answer within 50ms"));
    assert!(server.pending.is_empty());
}

#[tokio::test]
async fn beyond_max_pending_clients_are_told_to_come_back() {
    let config = RestConfig { max_pending: NonZeroU32::MIN, ..RestConfig::default() };
    let server = Server::start(config, |_| Reaction::Silence);
    let mut waiting = Client::connect(server.address).await;
    waiting.write("GET /movies/ HTTP/1.1\r\nHost: test\r\n\r\n").await;
    until(|| server.pending.len() == 1).await;
    let response = server.get("/movies/").await;
    assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));

    // A client that leaves frees its place.
    drop(waiting);
    until(|| server.pending.is_empty()).await;
}

#[tokio::test]
async fn a_client_that_dawdles_is_cut_off() {
    let config = RestConfig { read_timeout: Time(SHORT), ..RestConfig::default() };
    let server = Server::start(config, |_| Reaction::Silence);
    let mut head = Client::connect(server.address).await;
    head.write("GET /movies/ HTTP/1.1\r\nHo").await;
    let response = within(head.read()).await;
    assert!(response.is_none_or(|response| response.status == 408));

    let mut body = Client::connect(server.address).await;
    body.write("POST /movies/ HTTP/1.1\r\nHost: test\r\nContent-Length: 20\r\n\r\n{").await;
    let response = within(body.read()).await.unwrap();
    assert_eq!((response.status, response.error()), (408, "the body did not come within 50ms"));

    let mut idle = Client::connect(server.address).await;
    assert!(within(idle.read()).await.is_none());
}

#[tokio::test]
async fn beyond_max_connections_new_ones_wait_their_turn() {
    let config = RestConfig { max_connections: NonZeroU32::MIN, ..RestConfig::default() };
    let server = Server::start(config, |_| content(json!([])));
    let mut first = Client::connect(server.address).await;
    assert_eq!(within(first.get("/movies/")).await.status, 200);
    let mut second = Client::connect(server.address).await;
    second.write("GET /movies/ HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert!(tokio::time::timeout(SHORT, second.read()).await.is_err(), "served while the only place was taken");
    drop(first);
    assert_eq!(within(second.read()).await.unwrap().status, 200);
}
