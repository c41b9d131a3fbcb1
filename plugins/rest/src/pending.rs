//! The requests that wait for an answer from the bus: bounded, and gone when nobody waits any more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::message::Answer;

/// How a request ends: with an answer, or with the reason why there is none.
pub type Outcome = Result<Answer, String>;

/// The requests that wait. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Pending {
    waiting: Arc<Mutex<HashMap<String, oneshot::Sender<Outcome>>>>,
    limit: usize,
}

impl Pending {
    /// Room for `limit` requests.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { waiting: Arc::default(), limit }
    }

    /// Gives a request its place and a fresh id, or `None` when all places are taken. Dropping the ticket (the client
    /// has left, or the time is over) frees the place.
    #[must_use]
    pub fn register(&self) -> Option<Ticket> {
        let mut waiting = self.lock();
        if waiting.len() >= self.limit {
            return None;
        }
        // Random, because whoever is on the bus could answer a guessed one.
        let id = Uuid::new_v4().simple().to_string();
        let (sender, outcome) = oneshot::channel();
        waiting.insert(id.clone(), sender);
        Some(Ticket { id, outcome, pending: self.clone() })
    }

    /// Ends a request. `false`: nobody waits for it, or not any more.
    pub fn resolve(&self, id: &str, outcome: Outcome) -> bool {
        let sender = self.lock().remove(id);
        sender.is_some_and(|sender| sender.send(outcome).is_ok())
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Outcome>>> {
        // No code under this lock leaves the map half changed.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one request.
#[derive(Debug)]
pub struct Ticket {
    id: String,
    outcome: oneshot::Receiver<Outcome>,
    pending: Pending,
}

impl Ticket {
    /// The request's `resId`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Waits for the end, for as long as it takes: the caller sets the limit.
    pub async fn outcome(&mut self) -> Outcome {
        (&mut self.outcome).await.unwrap_or_else(|_| Err("the request was given up".into()))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.pending.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Register,
        Resolve(usize),
        ResolveUnknown,
        Leave(usize),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Register),
            1 => any::<usize>().prop_map(Step::Resolve),
            1 => Just(Step::ResolveUnknown),
            1 => any::<usize>().prop_map(Step::Leave),
        ]
    }

    fn answer(id: &str) -> Answer {
        Answer { res_id: id.to_owned(), ..Answer::default() }
    }

    proptest! {
        /// Against a model: the places taken are the tickets that wait, never more than the limit, and each request
        /// hears its own answer once.
        #[test]
        fn places_are_bounded_and_always_freed(limit in 0_usize..6, steps in prop::collection::vec(any_step(), 0..60)) {
            let pending = Pending::new(limit);
            let mut waiting: Vec<Ticket> = Vec::new();
            for step in steps {
                match step {
                    Step::Register => match pending.register() {
                        Some(ticket) => waiting.push(ticket),
                        None => prop_assert_eq!(waiting.len(), limit, "refused before it was full"),
                    },
                    Step::Resolve(_) | Step::Leave(_) if waiting.is_empty() => {}
                    Step::Resolve(at) => {
                        let mut ticket = waiting.swap_remove(at % waiting.len());
                        prop_assert!(pending.resolve(&ticket.id, Ok(answer(&ticket.id))));
                        prop_assert!(!pending.resolve(&ticket.id, Ok(answer(&ticket.id))), "answered twice");
                        prop_assert_eq!(ticket.outcome.try_recv().unwrap().unwrap().res_id, ticket.id.clone());
                    }
                    Step::ResolveUnknown => prop_assert!(!pending.resolve("nobody", Err(String::new()))),
                    Step::Leave(at) => {
                        let ticket = waiting.swap_remove(at % waiting.len());
                        let id = ticket.id.clone();
                        drop(ticket);
                        prop_assert!(!pending.resolve(&id, Ok(answer(&id))), "answered after it had left");
                    }
                }
                prop_assert!(pending.len() <= limit);
                prop_assert_eq!(pending.len(), waiting.len());
            }
            drop(waiting);
            prop_assert!(pending.is_empty());
        }
    }
}
