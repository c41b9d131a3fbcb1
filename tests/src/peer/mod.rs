//! The other side: a worker, a sender or a SystemManager as MicroServices.js has them, in Node, with its libraries.
//!
//! `tests/peer/` has its sources. It was written from the protocol alone, and does what the original does, faults included: its pools
//! lose count, it acks before it works, and a message that it cannot read is the end of it. A test fails when that happens
//! to a peer unnoticed.
//!
//! ```no_run
//! # use mshost_tests::peer::Peer;
//! # use mshost_bus::Codec;
//! # let url = String::new();
//! let manager = Peer::manager(&url, Codec::Json).start();
//! let worker = Peer::worker(&url, Codec::Json, "WB").to(&["$sender"]).start();
//! manager.until_listed(worker.id());
//! let sender = Peer::sender(&url, Codec::Json, "WA").start();
//! sender.send(&["WB:*"], &serde_json::json!({ "number": 1 }));
//! let result = &sender.until("result", 1)[0]["data"];
//! assert_eq!(result["trace"][0], worker.id());
//! assert!(worker.stop().success());
//! ```
//!
//! A peer tells what it does as events, which are kept; [`Peer::events`] has them by name, [`Peer::until`] and
//! [`Peer::until_event`] wait for them.
//!
//! | event | of | means | fields |
//! |---|---|---|---|
//! | `ready` | all | it hears the bus and has announced itself | `id`, `type` |
//! | `sent` | worker, sender | published as `worker.next`, again every 2 s until its ack | `id`, `attempt` (1 to 5), `job` |
//! | `ack` | worker, sender | somebody took one of its jobs | `id`, `job` as in `worker.next.ack` |
//! | `took` | worker | it took a job and published the ack | `id`, `byId`, `data`, `job` as it came |
//! | `done` | worker | it did a job; what follows is sent next | `id`, `data` (the result) |
//! | `result` | sender | a job came to it, and is acked | as `took` |
//! | `error` | worker, sender | an `error` with `target` = its id, or its job was not acked after 5 sends | `error`, `id`, `data`, … |
//! | `pool` | worker, sender | a `worker.list` of its type came | `pool`: `[{worker, isNext}]` |
//! | `announced` | manager | somebody announced itself, first or again | `id`, `type` |
//! | `workers` | manager | its list changed, or somebody asked for it (`asked`) | `workers`: `[{id, type}]` |
//! | `refused` | manager | it answered a `worker.next` with `error` | `id`, `address`, `job` |
//! | `unsent` | all | the codec cannot write this message, so it was not sent | `key`, `reason` |
//! | `malformed` | all | the last one: a message that it could not read | `exchange`, `key`, `body` (hex), `reason` |
//! | `disconnected`, `failed` | all | the last one: the broker or the test went wrong | `reason` |
//! | `stopped` | all | the last one: it left as told | |

mod setup;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mshost_bus::Codec;
use serde_json::{Value, json};

use crate::host_process::LIMIT;
use crate::wait::{blocking, poll};

pub use setup::PeerSetup;

/// A running peer; killed when dropped. Its methods block; in an async test they need a multi-threaded runtime.
#[derive(Debug)]
pub struct Peer {
    child: Mutex<Child>,
    events: Arc<Mutex<Vec<Value>>>,
    id: String,
    may_die: AtomicBool,
}

impl Peer {
    /// Takes over a child that has just started.
    fn follow(mut child: Child) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        follow(child.stdout.take().expect("piped"), &events, |line| serde_json::from_str(line).expect("an event"));
        follow(child.stderr.take().expect("piped"), &events, |line| json!({ "event": "stderr", "line": line }));
        let mut peer = Self { child: Mutex::new(child), events, id: String::new(), may_die: AtomicBool::new(false) };
        peer.id = peer.until("ready", 1)[0]["id"].as_str().unwrap_or_default().to_owned();
        peer
    }

    /// A worker of a type. It appends its id to `data.trace` and passes the result on to the next of the job's pipeline, if
    /// there is one.
    #[must_use]
    pub fn worker(url: &str, codec: Codec, worker_type: &str) -> PeerSetup {
        PeerSetup(json!({ "role": "worker", "url": url, "codec": codec.name(), "type": worker_type, "does": "trace" }))
    }

    /// A worker of a type that only sends. Whatever is addressed to it is a `result`.
    #[must_use]
    pub fn sender(url: &str, codec: Codec, worker_type: &str) -> PeerSetup {
        Self::worker(url, codec, worker_type).with("does", json!("keep"))
    }

    /// A SystemManager. It answers every `worker.next` that no worker of its list can take with `error`.
    #[must_use]
    pub fn manager(url: &str, codec: Codec) -> PeerSetup {
        PeerSetup(json!({ "role": "manager", "url": url, "codec": codec.name() }))
    }

    /// Nothing but the codec, for [`Peer::decode`]; without a broker.
    #[must_use]
    pub fn codec(codec: Codec) -> PeerSetup {
        PeerSetup(json!({ "role": "codec", "codec": codec.name() }))
    }

    /// Its id on the bus: `TYPE:` or `SM`, and 13 digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Has it send one job to a pipeline.
    pub fn send(&self, to: &[&str], data: &Value) {
        self.command(&json!({ "send": { "to": to, "data": data } }));
    }

    /// Has it send `count` jobs, whose data get the key `number` from 0 up. Jobs of one millisecond have one id, as in the
    /// original; with a pause of 2 ms or more no two have.
    pub fn send_many(&self, to: &[&str], data: &Value, count: usize, pause: Duration) {
        let every = u64::try_from(pause.as_millis()).expect("a short pause");
        self.command(&json!({ "send_many": { "to": to, "data": data, "count": count, "every": every } }));
    }

    /// Has a manager ask who is there, out of turn.
    pub fn ask(&self) {
        self.command(&json!({ "ask": null }));
    }

    /// Has a manager ask, on `polling`, for the lists of workers of all managers.
    pub fn poll(&self) {
        self.command(&json!({ "poll": null }));
    }

    /// What it reads in the body of a message. Without the peer's libraries' own types: numbers are numbers.
    #[must_use]
    pub fn decode(&self, body: &[u8]) -> Value {
        let before = self.events("decoded").len();
        let hex: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
        self.command(&json!({ "decode": hex }));
        self.until("decoded", before + 1)[before]["value"].clone()
    }

    /// Its events of a name so far, the oldest first.
    #[must_use]
    pub fn events(&self, name: &str) -> Vec<Value> {
        self.all().into_iter().filter(|event| event["event"] == name).collect()
    }

    /// Waits until there have been this many events of a name, and returns all of them.
    ///
    /// # Panics
    /// Where they do not come within [`LIMIT`], or the peer ends before.
    pub fn until(&self, name: &str, count: usize) -> Vec<Value> {
        self.wait(&format!("{count} events {name:?}"), || Some(self.events(name)).filter(|found| found.len() >= count))
    }

    /// Waits for an event of a name that satisfies a condition, which may have come already, and returns it.
    ///
    /// # Panics
    /// As [`Peer::until`].
    pub fn until_event(&self, name: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let what = format!("an event {name:?} that satisfies the condition");
        self.wait(&what, || self.events(name).into_iter().find(&condition))
    }

    /// The ids of the workers that a manager lists now.
    #[must_use]
    pub fn listed(&self) -> BTreeSet<String> {
        let last = self.events("workers").pop().unwrap_or_default();
        let workers = last["workers"].as_array().cloned().unwrap_or_default();
        workers.iter().filter_map(|worker| Some(worker["id"].as_str()?.to_owned())).collect()
    }

    /// Waits until a manager lists this worker.
    pub fn until_listed(&self, id: &str) {
        self.wait(&format!("{id} in the list of workers"), || self.listed().contains(id).then_some(()));
    }

    /// Waits until a manager does not list this worker.
    pub fn until_not_listed(&self, id: &str) {
        self.wait(&format!("{id} to leave the list of workers"), || (!self.listed().contains(id)).then_some(()));
    }

    /// Has it leave the bus as the original does: `worker.del`, then its subscriptions.
    ///
    /// # Panics
    /// Where it does not end.
    pub fn stop(&self) -> ExitStatus {
        self.may_die.store(true, Ordering::Relaxed);
        self.command(&json!({ "stop": true }));
        self.until_ended()
    }

    /// SIGKILL: it dies without a word.
    pub fn kill(&self) {
        self.may_die.store(true, Ordering::Relaxed);
        let mut child = self.child.lock().expect("not poisoned");
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Waits until it has ended by itself, as the test expects it to, and returns its last event.
    ///
    /// # Panics
    /// Where it does not end.
    pub fn until_died(&self) -> Value {
        self.may_die.store(true, Ordering::Relaxed);
        let status = self.until_ended();
        assert!(!status.success(), "it left in peace");
        let last = || self.all().into_iter().rfind(|event| event["event"] != "stderr");
        // The status may be there before the last line has been read.
        self.wait("its last words", || last().filter(|event| event["reason"].is_string()))
    }

    fn until_ended(&self) -> ExitStatus {
        let ended = || self.child.lock().expect("not poisoned").try_wait().expect("a child");
        blocking(|| poll(LIMIT, ended)).unwrap_or_else(|| panic!("the peer {} does not end:\n{}", self.id, self.said()))
    }

    fn command(&self, command: &Value) {
        let mut child = self.child.lock().expect("not poisoned");
        let stdin = child.stdin.as_mut().expect("piped");
        if let Err(error) = writeln!(stdin, "{command}") {
            drop(child);
            panic!("the peer {} takes no commands ({error}):\n{}", self.id, self.said());
        }
    }

    fn wait<T>(&self, what: &str, condition: impl Fn() -> Option<T>) -> T {
        let mut ended = false;
        let found = blocking(|| {
            poll(LIMIT, || {
                // Both are looked at once more after its end, for what it said last.
                let found = condition().map(Ok);
                let result = found.or_else(|| (ended && !self.may_die.load(Ordering::Relaxed)).then_some(Err(())));
                ended = self.child.lock().expect("not poisoned").try_wait().expect("a child").is_some();
                result
            })
        });
        match found {
            Some(Ok(found)) => found,
            Some(Err(())) => panic!("the peer {} ended before {what}:\n{}", self.id, self.said()),
            None => panic!("waited {LIMIT:?} in vain for {what} of the peer {}:\n{}", self.id, self.said()),
        }
    }

    fn all(&self) -> Vec<Value> {
        self.events.lock().expect("not poisoned").clone()
    }

    fn said(&self) -> String {
        self.all().iter().map(|event| format!("{event}\n")).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let ended = matches!(child.try_wait(), Ok(Some(_)));
        let _ = child.kill();
        let _ = child.wait();
        let noticed = *self.may_die.get_mut() || std::thread::panicking();
        assert!(!ended || noticed, "the peer {} ended unnoticed:\n{}", self.id, self.said());
    }
}

fn follow(stream: impl Read + Send + 'static, events: &Arc<Mutex<Vec<Value>>>, event: fn(&str) -> Value) {
    let events = Arc::clone(events);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            events.lock().expect("not poisoned").push(event(&line));
        }
    });
}
