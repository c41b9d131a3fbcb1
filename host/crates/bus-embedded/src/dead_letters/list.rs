//! The list of dead letters: as many as the limit allows, then failing jobs stay in their queues.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mshost_bus::{BusError, DeadLetter};
use parking_lot::Mutex;

use crate::journal::{Commit, Journal, JournalChange, RecordId};

/// The dead letters in memory, oldest first. The journal is told of each change in the order in which it happens here.
pub(crate) struct DeadLetterList {
    letters: Mutex<LettersByAge>,
    limit: usize,
    journal: Option<Arc<Journal>>,
}

#[derive(Default)]
struct LettersByAge {
    by_age: BTreeMap<u64, DeadLetterEntry>,
    by_id: HashMap<String, u64>,
    serials: u64,
}

/// One dead-lettering: a job that is given up again has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Serial(u64);

struct DeadLetterEntry {
    letter: DeadLetter,
    record: Option<RecordId>,
}

impl DeadLetterList {
    pub(crate) fn new(limit: usize, journal: Option<Arc<Journal>>) -> Self {
        Self { letters: Mutex::default(), limit, journal }
    }

    /// Keeps the job of `record`, which the journal has no longer as a job. A job that is given up twice is one dead
    /// letter.
    pub(crate) fn keep(&self, letter: DeadLetter, record: Option<RecordId>) -> Result<(), BusError> {
        let mut letters = self.letters.lock();
        if letters.by_age.len() >= self.limit && !letters.by_id.contains_key(&letter.id) {
            return Err(full(self.limit));
        }
        if let Some(record) = record {
            self.append(JournalChange::DeadLetter { record, id: letter.id.clone(), death: letter.death.clone() });
        }
        if let Some(old) = letters.insert(letter, record).filter(|old| Some(*old) != record) {
            self.append(JournalChange::RemoveDeadLetter(old));
        }
        Ok(())
    }

    /// Takes in what the journal has kept.
    pub(crate) fn restore(&self, kept: impl IntoIterator<Item = (RecordId, DeadLetter)>) {
        let mut letters = self.letters.lock();
        for (record, letter) in kept {
            letters.insert(letter, Some(record));
        }
    }

    pub(crate) fn list(&self, limit: usize) -> Vec<DeadLetter> {
        self.letters.lock().by_age.values().take(limit).map(|kept| kept.letter.clone()).collect()
    }

    pub(crate) fn count(&self) -> u64 {
        self.letters.lock().by_age.len() as u64
    }

    /// The dead letter of this id, and what to call it in [`DeadLetterList::remove`].
    pub(crate) fn get(&self, id: &str) -> Option<(Serial, DeadLetter)> {
        let letters = self.letters.lock();
        let serial = *letters.by_id.get(id)?;
        letters.by_age.get(&serial).map(|kept| (Serial(serial), kept.letter.clone()))
    }

    /// Removes one, unless its job has been dead-lettered again since. The commit ends when that, and all that was noted before
    /// it, is written.
    pub(crate) fn remove(&self, Serial(serial): Serial) -> Commit {
        let mut letters = self.letters.lock();
        let Some(DeadLetterEntry { letter, record }) = letters.by_age.remove(&serial) else { return Commit::default() };
        letters.by_id.remove(&letter.id);
        record.map_or_else(Commit::default, |record| self.commit(JournalChange::RemoveDeadLetter(record)))
    }

    /// Removes all, and says how many. The second ends when that is written.
    pub(crate) fn purge(&self) -> (u64, Commit) {
        let mut letters = self.letters.lock();
        letters.by_id.clear();
        let commit = self.commit(JournalChange::PurgeDeadLetters);
        (std::mem::take(&mut letters.by_age).len() as u64, commit)
    }

    fn commit(&self, change: JournalChange) -> Commit {
        self.journal.as_ref().map_or_else(Commit::default, |journal| journal.commit(change))
    }

    fn append(&self, change: JournalChange) {
        if let Some(journal) = &self.journal {
            journal.append(change);
        }
    }
}

impl LettersByAge {
    /// Gives the record of the letter of the same id that it takes the place of.
    fn insert(&mut self, letter: DeadLetter, record: Option<RecordId>) -> Option<RecordId> {
        self.serials += 1;
        let old = self.by_id.insert(letter.id.clone(), self.serials).and_then(|serial| self.by_age.remove(&serial));
        self.by_age.insert(self.serials, DeadLetterEntry { letter, record });
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
