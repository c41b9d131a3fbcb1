//! A load tool that misses failures is worse than none: each kind is provoked.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{HttpLoad, LoadReport};
use crate::baseline;

const SOME_TIME: Duration = Duration::from_millis(200);

/// A server that answers the first request of each connection with these bytes, and closes.
async fn after_one_answer(answer: &'static [u8]) -> LoadReport {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = [0; 1_024];
                if stream.read(&mut request).await.unwrap_or(0) > 0 {
                    let _ = stream.write_all(answer).await;
                }
            });
        }
    });
    let report = HttpLoad::new(address, "/movies/", 4).run_for(SOME_TIME).await;
    server.abort();
    report
}

#[tokio::test]
async fn a_server_without_fault_has_a_flawless_report() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(baseline::http::serve(listener, Bytes::from_static(b"[]")));
    let report = HttpLoad::new(address, "/movies/", 4).run_for(SOME_TIME).await;
    report.assert_flawless();
    assert!(report.latency(0.5) <= report.latency(0.99) && report.rate() > 0.0);
    server.abort();
}

#[tokio::test]
async fn a_wrong_status_is_a_failure_with_its_body() {
    let report = after_one_answer(b"HTTP/1.1 500 x\r\nContent-Length: 4\r\nConnection: close\r\n\r\noops").await;
    assert!(report.failure_count > 0 && report.successes == 0);
    assert_eq!(report.failures[0].reason, "expected 200, got 500: oops");
}

#[tokio::test]
async fn a_response_that_is_cut_off_is_a_failure() {
    let report = after_one_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\noops").await;
    assert!(report.failures[0].reason.starts_with("the connection broke in the body"), "{report}");
    let report = after_one_answer(b"").await;
    assert!(report.failures[0].reason.starts_with("the connection broke before the response"), "{report}");
    assert_eq!(report.successes, 0);
}

#[tokio::test]
async fn a_close_between_requests_is_no_failure() {
    let close = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\nx-served-by: v1\r\n\r\n[]";
    let report = after_one_answer(close).await;
    report.assert_flawless();
    assert!(report.served_by.contains("v1"));
}

#[tokio::test]
async fn nobody_there_is_a_failure() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let report = HttpLoad::new(address, "/movies/", 2).run_for(SOME_TIME).await;
    assert!(report.failure_count >= 2 && report.failures[0].reason.starts_with("cannot connect"), "{report}");
}

#[tokio::test]
async fn silence_is_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut load = HttpLoad::new(listener.local_addr().unwrap(), "/movies/", 2);
    load.timeout = Duration::from_millis(20);
    let report = load.run_for(SOME_TIME).await;
    assert_eq!(report.failures[0].reason, "no response within 20ms");
}
