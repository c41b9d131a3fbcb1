//! The server under test, on a port of its own.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rest::config::RestConfig;
use rest::message::{Answer, Question};
use rest::pending::Pending;
use rest::server::serve;
use rest::service::{Ask, Service};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::{Client, Response};

/// Longer than anything here takes; not so long that a hang is not noticed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A bus that a closure plays. It remembers the questions as they look in JSON.
pub struct FakeBus {
    pending: Pending,
    questions: Arc<Mutex<Vec<Value>>>,
    reaction: Box<dyn Fn(&Question) -> Reaction + Send + Sync>,
}

/// What the bus does with a question.
pub enum Reaction {
    /// Nobody can take it.
    Refuse(&'static str),
    /// It is answered.
    Answer(Answer),
    /// It fails on its way: the sender hears a report.
    Report(&'static str),
    /// It is never heard of again.
    Silence,
}

impl Ask for FakeBus {
    async fn ask(&self, question: Question) -> Result<(), String> {
        self.questions.lock().unwrap().push(serde_json::to_value(&question).unwrap());
        let outcome = match (self.reaction)(&question) {
            Reaction::Refuse(reason) => return Err(reason.into()),
            Reaction::Answer(answer) => Ok(answer),
            Reaction::Report(reason) => Err(reason.into()),
            Reaction::Silence => return Ok(()),
        };
        assert!(self.pending.resolve(&question.res_id, outcome), "nobody waits for the answer");
        Ok(())
    }
}

/// An answer with this content.
pub fn content(content: Value) -> Reaction {
    Reaction::Answer(Answer { content, ..Answer::default() })
}

pub struct Server {
    pub address: SocketAddr,
    pub pending: Pending,
    questions: Arc<Mutex<Vec<Value>>>,
    shutdown: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub fn start(config: RestConfig, reaction: impl Fn(&Question) -> Reaction + Send + Sync + 'static) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pending = Pending::new(config.max_pending.get() as usize);
        let questions = Arc::default();
        let bus = FakeBus { pending: pending.clone(), questions: Arc::clone(&questions), reaction: Box::new(reaction) };
        let service = Arc::new(Service::new(bus, pending.clone(), config.clone()));
        let (shutdown, asked) = oneshot::channel();
        let task = tokio::spawn(async move {
            serve(listener, service, &config, async {
                let _ = asked.await;
            })
            .await
        });
        Self { address, pending, questions, shutdown: Some(shutdown), task }
    }

    /// One request on a connection of its own.
    pub async fn get(&self, path: &str) -> Response {
        within(async { Client::connect(self.address).await.get(path).await }).await
    }

    /// One request on a connection of its own.
    pub async fn post(&self, path: &str, body: &str) -> Response {
        within(async { Client::connect(self.address).await.post(path, body).await }).await
    }

    /// What the bus was asked last, without its id and time.
    pub fn last_question(&self) -> Value {
        let mut question = self.questions.lock().unwrap().last().unwrap().clone();
        let fields = question.as_object_mut().unwrap();
        assert!(fields.remove("resId").unwrap().is_string());
        assert!(fields.remove("time").unwrap().as_u64().unwrap() > 1_460_306_476_102);
        question
    }

    pub fn shut_down(&mut self) {
        self.shutdown.take().unwrap().send(()).unwrap();
    }

    /// Waits until the server has let go of its last connection.
    pub async fn ended(self) {
        within(self.task).await.unwrap().unwrap();
    }
}

/// The result, or a panic where it does not come.
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

/// Waits until this is so.
pub async fn until(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
