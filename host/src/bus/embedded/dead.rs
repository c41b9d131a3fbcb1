//! Dead letters in memory: as many as the limit allows, then failing jobs stay in their queues.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::bus::{BusError, DeadLetter};

/// See the module.
#[derive(Debug)]
pub(super) struct DeadLetters {
    letters: Mutex<VecDeque<DeadLetter>>,
    limit: usize,
}

impl DeadLetters {
    pub(super) fn new(limit: usize) -> Self {
        Self { letters: Mutex::default(), limit }
    }

    pub(super) fn keep(&self, letter: DeadLetter) -> Result<(), BusError> {
        let mut letters = self.letters.lock();
        if letters.len() >= self.limit {
            return Err(full(self.limit));
        }
        letters.push_back(letter);
        Ok(())
    }

    pub(super) fn list(&self, limit: usize) -> Vec<DeadLetter> {
        self.letters.lock().iter().take(limit).cloned().collect()
    }

    pub(super) fn count(&self) -> u64 {
        self.letters.lock().len() as u64
    }

    pub(super) fn get(&self, id: &str) -> Option<DeadLetter> {
        self.letters.lock().iter().find(|letter| letter.id == id).cloned()
    }

    pub(super) fn remove(&self, id: &str) {
        let mut letters = self.letters.lock();
        if let Some(at) = letters.iter().position(|letter| letter.id == id) {
            letters.remove(at);
        }
    }

    pub(super) fn purge(&self) -> u64 {
        std::mem::take(&mut *self.letters.lock()).len() as u64
    }
}

fn full(limit: usize) -> BusError {
    BusError::Refused {
        what: "keeping a dead letter".to_owned(),
        reason: format!(
            "there are {limit} already (`bus.dead_letter_limit`); look at them with `mshost dead-letters list`, then requeue \
             or purge them"
        ),
    }
}
