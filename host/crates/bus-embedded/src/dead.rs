//! Dead letters: as many as the limit allows, then failing jobs stay in their queues.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mshost_bus::{BusError, DeadLetter};
use parking_lot::Mutex;

use super::journal::{Change, Journal, Record, Written};

/// See the module. The journal hears of each change in the order in which it happens here.
pub(super) struct DeadLetters {
    letters: Mutex<Letters>,
    limit: usize,
    journal: Option<Arc<Journal>>,
}

#[derive(Default)]
struct Letters {
    by_age: BTreeMap<u64, Buried>,
    by_id: HashMap<String, u64>,
    serials: u64,
}

/// One burial: a job that dies again has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Serial(u64);

struct Buried {
    letter: DeadLetter,
    record: Option<Record>,
}

impl DeadLetters {
    pub(super) fn new(limit: usize, journal: Option<Arc<Journal>>) -> Self {
        Self { letters: Mutex::default(), limit, journal }
    }

    /// Keeps the job of `record`, which the journal has no longer as a job. A job that dies twice is one dead letter.
    pub(super) fn keep(&self, letter: DeadLetter, record: Option<Record>) -> Result<(), BusError> {
        let mut letters = self.letters.lock();
        if letters.by_age.len() >= self.limit && !letters.by_id.contains_key(&letter.id) {
            return Err(full(self.limit));
        }
        if let Some(record) = record {
            self.note(Change::Bury { record, id: letter.id.clone(), death: letter.death.clone() });
        }
        if let Some(old) = letters.insert(letter, record).filter(|old| Some(*old) != record) {
            self.note(Change::Forget(old));
        }
        Ok(())
    }

    /// Takes in what the journal has kept.
    pub(super) fn restore(&self, kept: impl IntoIterator<Item = (Record, DeadLetter)>) {
        let mut letters = self.letters.lock();
        for (record, letter) in kept {
            letters.insert(letter, Some(record));
        }
    }

    pub(super) fn list(&self, limit: usize) -> Vec<DeadLetter> {
        self.letters.lock().by_age.values().take(limit).map(|kept| kept.letter.clone()).collect()
    }

    pub(super) fn count(&self) -> u64 {
        self.letters.lock().by_age.len() as u64
    }

    /// The dead letter of this id, and what to call it in [`DeadLetters::remove`].
    pub(super) fn get(&self, id: &str) -> Option<(Serial, DeadLetter)> {
        let letters = self.letters.lock();
        let serial = *letters.by_id.get(id)?;
        letters.by_age.get(&serial).map(|kept| (Serial(serial), kept.letter.clone()))
    }

    /// Removes one, unless its job has died again and taken its place. What it gives ends when that, and all that was noted
    /// before it, is written.
    pub(super) fn remove(&self, Serial(serial): Serial) -> Written {
        let mut letters = self.letters.lock();
        let Some(Buried { letter, record }) = letters.by_age.remove(&serial) else { return Written::default() };
        letters.by_id.remove(&letter.id);
        record.map_or_else(Written::default, |record| self.written(Change::Forget(record)))
    }

    /// Removes all, and says how many. The second ends when that is written.
    pub(super) fn purge(&self) -> (u64, Written) {
        let mut letters = self.letters.lock();
        letters.by_id.clear();
        let written = self.written(Change::ForgetAll);
        (std::mem::take(&mut letters.by_age).len() as u64, written)
    }

    fn written(&self, change: Change) -> Written {
        self.journal.as_ref().map_or_else(Written::default, |journal| journal.written(change))
    }

    fn note(&self, change: Change) {
        if let Some(journal) = &self.journal {
            journal.note(change);
        }
    }
}

impl Letters {
    /// Gives the record of the letter of the same id that it takes the place of.
    fn insert(&mut self, letter: DeadLetter, record: Option<Record>) -> Option<Record> {
        self.serials += 1;
        let old = self.by_id.insert(letter.id.clone(), self.serials).and_then(|serial| self.by_age.remove(&serial));
        self.by_age.insert(self.serials, Buried { letter, record });
        old.and_then(|old| old.record)
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
