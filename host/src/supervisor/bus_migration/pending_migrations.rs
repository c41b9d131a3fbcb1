//! A note in `host.state` of the journals that the host is leaving: what is left in one when the host is stopped or killed
//! half-way, the next host of this topology moves to its bus.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use mshost_topology::{BusConfig, BusUrl, JournalConfig, JournalSync, Topology};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// The note of unfinished migrations.
pub(super) struct PendingMigrations {
    file: PathBuf,
    /// Held while the file is read and written.
    lock: Mutex<()>,
}

/// A journal that is being left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PendingJournal {
    /// Absolute.
    folder: PathBuf,
    codec: String,
}

impl PendingMigrations {
    /// The note in this folder, which is made when there is something to note.
    pub(super) fn new(state: &Path) -> Self {
        Self { file: state.join("unfinished-moves.json"), lock: Mutex::default() }
    }

    /// Notes that this bus is being left, where it has a journal.
    ///
    /// # Errors
    /// Where that cannot be written.
    pub(super) fn begin(&self, bus: &BusConfig) -> io::Result<()> {
        self.change(bus, |all, one| all.push(one))
    }

    /// Notes that nothing is left on this bus, or that it is the current one again.
    ///
    /// # Errors
    /// Where that cannot be written.
    pub(super) fn end(&self, bus: &BusConfig) -> io::Result<()> {
        self.change(bus, |_, _| {})
    }

    /// All journals that are being left.
    ///
    /// # Errors
    /// Where the note cannot be read.
    pub(super) fn all(&self) -> io::Result<Vec<PendingJournal>> {
        match fs::read(&self.file) {
            Ok(text) => Ok(serde_json::from_slice(&text)?),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Removes the bus from the note, then does `change` with it.
    fn change(&self, bus: &BusConfig, change: impl FnOnce(&mut Vec<PendingJournal>, PendingJournal)) -> io::Result<()> {
        let Some(one) = PendingJournal::of(bus)? else { return Ok(()) };
        let _held = self.lock.lock();
        let before = self.all()?;
        let mut all: Vec<_> = before.iter().filter(|other| other.folder != one.folder).cloned().collect();
        change(&mut all, one);
        if all == before {
            return Ok(());
        }
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder)?;
        }
        let new = self.file.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(&all)?)?;
        file.sync_all()?;
        fs::rename(new, &self.file)
    }
}

impl PendingJournal {
    fn of(bus: &BusConfig) -> io::Result<Option<Self>> {
        let Some(journal) = bus.journal.as_ref().filter(|_| bus.url == BusUrl::Embedded) else { return Ok(None) };
        Ok(Some(Self { folder: std::path::absolute(&journal.folder)?, codec: bus.codec.to_string() }))
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A topology whose bus is this one, so that it can be opened; `None` where that of `topology` is.
    ///
    /// # Errors
    /// Why its jobs cannot be migrated to the bus of `topology`.
    pub(super) fn reopened(&self, topology: &Topology) -> Result<Option<Topology>, String> {
        let current = PendingJournal::of(&topology.bus).map_err(|error| error.to_string())?;
        if current.is_some_and(|current| current.folder == self.folder) {
            return Ok(None);
        }
        if topology.bus.codec.to_string() != self.codec {
            return Err(format!("it is written in {}, and `bus.codec` is {}", self.codec, topology.bus.codec));
        }
        let journal = JournalConfig { folder: self.folder.clone(), sync: JournalSync::default(), limit: u64::MAX };
        let bus = BusConfig { url: BusUrl::Embedded, journal: Some(journal), ..topology.bus.clone() };
        Ok(Some(Topology { bus, ..topology.clone() }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn topology(bus: &str) -> Topology {
        mshost_topology::parse(Path::new("topology.toml"), &format!("[bus]\n{bus}\n"), &|_| None).unwrap()
    }

    #[test]
    fn what_is_begun_and_not_ended_is_found_by_the_next_host() {
        let folder = tempfile::tempdir().unwrap();
        let pending = PendingMigrations::new(&folder.path().join("state"));
        let (a, b) = (topology("journal = \"/a\""), topology("journal = \"/b\""));
        let memory = topology("");
        for bus in [&a, &b, &a, &memory] {
            pending.begin(&bus.bus).unwrap();
        }
        pending.end(&b.bus).unwrap();
        let found = PendingMigrations::new(&folder.path().join("state")).all().unwrap();
        let [one] = &*found else { panic!("{found:?}") };
        let again = one.reopened(&topology("url = \"amqp://h\"")).unwrap().unwrap();
        assert_eq!((&again.bus.url, again.bus.journal.unwrap().folder), (&BusUrl::Embedded, PathBuf::from("/a")));
        assert!(one.reopened(&a).unwrap().is_none(), "it is the bus itself");
        let other = one.reopened(&topology("codec = \"JSON\"")).unwrap_err();
        assert!(other.contains("JSON"), "{other}");
    }
}
