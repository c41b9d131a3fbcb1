//! Clients that keep to HTTP/1.1 and hold a server to it while it is replaced.
//!
//! What a client may see, and nothing else:
//!
//! 1. Whoever connects is let in.
//! 2. Every answer is whole, and has the status that is expected.
//! 3. A connection ends after an answer that says `ClientConnection: close`, or while it is idle. It counts as idle only when the
//!    server's `linger` has passed since the client began its last request there (or to connect). Nothing else may
//!    end a connection: a request that comes sooner is answered.
//! 4. The end is an end of stream, never a reset, even where a request crosses it.
//! 5. A request that met the end of an idle connection was not executed. The client makes it anew on a fresh connection.
//!    (Each movie has a title of its own, so whoever reads them all can tell.)

mod connection;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::http_request::HttpAnswer;
use connection::{ClientConnection, ExchangeOutcome};

/// How a client goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientHabit {
    /// One connection for as long as the server keeps it, and one request after the other.
    Keen,
    /// A connection for each request.
    Fresh,
    /// One connection, and pauses around the server's `linger`; it adds a movie each time.
    Idle,
}

/// The server, and how many clients of each habit.
#[derive(Debug, Clone)]
pub struct HttpClients {
    /// Where the movies are.
    pub address: SocketAddr,
    /// The `linger` of the server.
    pub linger: Duration,
    /// How many of each habit.
    pub each: usize,
    /// The pause of the others between two requests.
    pub think: Duration,
}

/// Clients at work.
#[derive(Debug)]
pub struct RunningClients {
    shared: Arc<ClientsShared>,
    threads: Vec<JoinHandle<Result<ClientTally, String>>>,
}

#[derive(Debug, Default)]
struct ClientsShared {
    stop: AtomicBool,
    answered: AtomicU64,
}

/// What clients saw.
#[derive(Debug, Clone, Default)]
pub struct ClientTally {
    /// Requests answered.
    pub answered: u64,
    /// Connections made.
    pub connections: u64,
    /// Connections whose last answer said so.
    pub told_to_close: u64,
    /// Connections that ended while they were idle.
    pub closed_idle: u64,
    /// The titles of the movies that were added.
    pub titles: Vec<String>,
}

impl HttpClients {
    /// Sends them in.
    #[must_use]
    pub fn start(&self) -> RunningClients {
        let shared = Arc::<ClientsShared>::default();
        let habits = [ClientHabit::Keen, ClientHabit::Fresh, ClientHabit::Idle];
        let each = (0..self.each).flat_map(|number| habits.map(|habit| (habit, number)));
        let threads = each.map(|(habit, number)| {
            let client = HttpClient::new(self, habit, number, Arc::clone(&shared));
            std::thread::spawn(move || client.run())
        });
        let threads = threads.collect();
        RunningClients { shared, threads }
    }
}

impl RunningClients {
    /// Requests answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Whether none of them has seen anything that it must not see, so far.
    #[must_use]
    pub fn are_content(&self) -> bool {
        !self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Lets each finish its request.
    ///
    /// # Errors
    /// What each client saw that it must not see, a line each.
    ///
    /// # Panics
    /// Where a client panicked.
    pub fn stop(self) -> Result<ClientTally, String> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut sum = ClientTally::default();
        let mut complaints = Vec::new();
        for thread in self.threads {
            match thread.join().expect("a client") {
                Ok(one) => sum.add(one),
                Err(complaint) => complaints.push(complaint),
            }
        }
        if complaints.is_empty() { Ok(sum) } else { Err(complaints.join("\n")) }
    }
}

impl ClientTally {
    /// Adds what others saw.
    pub fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.connections += other.connections;
        self.told_to_close += other.told_to_close;
        self.closed_idle += other.closed_idle;
        self.titles.extend(other.titles);
    }
}

struct HttpClient {
    address: SocketAddr,
    linger: Duration,
    think: Duration,
    habit: ClientHabit,
    number: usize,
    shared: Arc<ClientsShared>,
    connection: Option<ClientConnection>,
    tally: ClientTally,
}

impl HttpClient {
    fn new(clients: &HttpClients, habit: ClientHabit, number: usize, shared: Arc<ClientsShared>) -> Self {
        let HttpClients { address, linger, think, .. } = *clients;
        Self { address, linger, think, habit, number, shared, connection: None, tally: ClientTally::default() }
    }

    fn run(mut self) -> Result<ClientTally, String> {
        let mut round = 0_u32;
        while !self.shared.stop.load(Ordering::Relaxed) {
            round += 1;
            if !self.think.is_zero() {
                std::thread::park_timeout(self.think);
            }
            self.visit(round).map_err(|complaint| {
                let Self { habit, number, tally, .. } = &self;
                format!("{habit:?} {number}, round {round}, after {} answers: {complaint}", tally.answered)
            })?;
        }
        Ok(self.tally)
    }

    fn visit(&mut self, round: u32) -> Result<(), String> {
        match self.habit {
            ClientHabit::Keen => self.ask("GET", "", 200),
            ClientHabit::Fresh => {
                self.connection = None;
                self.ask("GET", "", 200)
            }
            ClientHabit::Idle => {
                let title = format!("idle {} {round}", self.number);
                self.ask("POST", &format!("{{\"title\":\"{title}\"}}"), 201)?;
                self.tally.titles.push(title);
                // Its habit, not a wait for something: from none to twice the server's patience, in steps.
                std::thread::park_timeout(self.linger.mul_f64(f64::from(round * 7 % 20) / 10.0));
                Ok(())
            }
        }
    }

    /// Asks until there is an answer. Only the end of an idle connection is a reason to ask again.
    fn ask(&mut self, method: &str, body: &str, status: u16) -> Result<(), String> {
        loop {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => {
                    self.tally.connections += 1;
                    ClientConnection::open(self.address)?
                }
            };
            match connection.exchange(method, body, self.linger)? {
                ExchangeOutcome::ClosedIdle => self.tally.closed_idle += 1,
                ExchangeOutcome::Answered(answer) => return self.take(&answer, connection, status),
            }
        }
    }

    fn take(&mut self, answer: &HttpAnswer, connection: ClientConnection, status: u16) -> Result<(), String> {
        if answer.status != status {
            return Err(format!("expected {status}, got {answer:?}"));
        }
        self.tally.answered += 1;
        self.shared.answered.fetch_add(1, Ordering::Relaxed);
        if answer.head.to_ascii_lowercase().contains("\r\nconnection: close") {
            self.tally.told_to_close += 1;
            return connection.expect_end();
        }
        self.connection = Some(connection);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
