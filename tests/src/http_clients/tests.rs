//! A client that overlooks a fault is worse than none: each is provoked.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::{ClientHabit, ClientTally, HttpClient, HttpClients};

/// No connection is idle for so long.
const LONG: Duration = Duration::from_secs(3_600);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]";
const LAST: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]";

/// What a keen client makes of two rounds, and the pause between them, with a server that does this with each connection in turn.
fn two_rounds<const N: usize>(turns: [fn(TcpStream); N], linger: Duration) -> Result<ClientTally, String> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = client(listener.local_addr().unwrap(), linger);
    let server = std::thread::spawn(move || turns.map(|turn| turn(listener.accept().unwrap().0)));
    client.visit(1)?;
    if linger < LONG {
        std::thread::park_timeout(linger * 2);
    }
    client.visit(2)?;
    client.connection = None;
    server.join().unwrap();
    Ok(client.tally)
}

fn client(address: SocketAddr, linger: Duration) -> HttpClient {
    HttpClient::new(
        &HttpClients { address, linger, each: 1, think: Duration::ZERO },
        ClientHabit::Keen,
        0,
        std::sync::Arc::default(),
    )
}

fn request(stream: &mut TcpStream) {
    assert!(stream.read(&mut [0; 1_024]).unwrap() > 0);
}

fn answer(stream: &mut TcpStream, bytes: &[u8]) {
    request(stream);
    stream.write_all(bytes).unwrap();
}

/// Answers, and reads until the client has closed.
fn well(mut stream: TcpStream, last: &[u8]) {
    answer(&mut stream, last);
    stream.shutdown(Shutdown::Write).unwrap();
    while stream.read(&mut [0; 1_024]).unwrap() > 0 {}
}

#[test]
fn a_last_answer_and_an_end_are_in_order() {
    let turn: fn(TcpStream) = |stream| well(stream, LAST);
    let tally = two_rounds([turn, turn], LONG).unwrap();
    assert_eq!((tally.answered, tally.told_to_close, tally.closed_idle, tally.connections), (2, 2, 0, 2));
}

#[test]
fn the_end_of_an_idle_connection_is_in_order_and_that_of_another_is_not() {
    let turns: [fn(TcpStream); 2] = [|stream| well(stream, ANSWER), |mut stream| answer(&mut stream, ANSWER)];
    let tally = two_rounds(turns, Duration::from_millis(50)).unwrap();
    assert_eq!((tally.answered, tally.closed_idle, tally.connections), (2, 1, 2));
    let error = two_rounds(turns, LONG).unwrap_err();
    assert!(error.starts_with("closed without an answer"), "{error}");
}

#[test]
fn half_an_answer_is_not_in_order() {
    let error = two_rounds([|mut stream: TcpStream| answer(&mut stream, &ANSWER[..30])], LONG).unwrap_err();
    assert!(error.starts_with("cut off after"), "{error}");
}

#[test]
fn a_reset_is_not_in_order_even_where_the_connection_is_idle() {
    // Closed with most of the request unread: the kernel resets it.
    let error =
        two_rounds([|mut stream: TcpStream| _ = stream.read(&mut [0; 1]).unwrap()], Duration::ZERO).unwrap_err();
    assert!(error.contains("reset"), "{error}");
}

#[test]
fn more_than_the_last_answer_is_not_in_order() {
    let turn: fn(TcpStream) = |mut stream| {
        answer(&mut stream, LAST);
        let _ = stream.write_all(ANSWER);
    };
    let error = two_rounds([turn], LONG).unwrap_err();
    assert!(error.contains("bytes after the answer"), "{error}");
}

#[test]
fn a_wrong_status_and_a_refusal_are_not_in_order() {
    let refuse: fn(TcpStream) = |mut stream| answer(&mut stream, b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n");
    let error = two_rounds([refuse], LONG).unwrap_err();
    assert!(error.starts_with("expected 200"), "{error}");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = client(nobody, LONG).visit(1).unwrap_err();
    assert!(error.starts_with("not let in"), "{error}");
}
