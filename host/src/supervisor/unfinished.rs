//! The journals of buses that a host is leaving, written down: what it leaves there when it is stopped or killed half-way, the
//! next host of this topology carries over.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use mshost_topology::{BusConfig, BusUrl, JournalConfig, JournalSync, Topology};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// See the module.
pub(super) struct Unfinished {
    file: PathBuf,
    /// Held while the file is read and written.
    lock: Mutex<()>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OldJournal {
    /// Absolute.
    folder: PathBuf,
    codec: String,
}

impl Unfinished {
    /// Those noted in this folder, which is made when there is something to note.
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

    /// Notes that nothing is left there, or that it is lived on again.
    ///
    /// # Errors
    /// Where that cannot be written.
    pub(super) fn end(&self, bus: &BusConfig) -> io::Result<()> {
        self.change(bus, |_, _| {})
    }

    /// All of them.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub(super) fn all(&self) -> io::Result<Vec<OldJournal>> {
        match fs::read(&self.file) {
            Ok(text) => Ok(serde_json::from_slice(&text)?),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Takes the bus out, then does `change` with it.
    fn change(&self, bus: &BusConfig, change: impl FnOnce(&mut Vec<OldJournal>, OldJournal)) -> io::Result<()> {
        let Some(one) = OldJournal::of(bus)? else { return Ok(()) };
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

impl OldJournal {
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
    /// Why its jobs cannot be carried to the bus of `topology`.
    pub(super) fn reopened(&self, topology: &Topology) -> Result<Option<Topology>, String> {
        let current = OldJournal::of(&topology.bus).map_err(|error| error.to_string())?;
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
        let unfinished = Unfinished::new(&folder.path().join("state"));
        let (a, b) = (topology("journal = \"/a\""), topology("journal = \"/b\""));
        let memory = topology("");
        for bus in [&a, &b, &a, &memory] {
            unfinished.begin(&bus.bus).unwrap();
        }
        unfinished.end(&b.bus).unwrap();
        let found = Unfinished::new(&folder.path().join("state")).all().unwrap();
        let [one] = &*found else { panic!("{found:?}") };
        let again = one.reopened(&topology("url = \"amqp://h\"")).unwrap().unwrap();
        assert_eq!((&again.bus.url, again.bus.journal.unwrap().folder), (&BusUrl::Embedded, PathBuf::from("/a")));
        assert!(one.reopened(&a).unwrap().is_none(), "it is the bus itself");
        let other = one.reopened(&topology("codec = \"JSON\"")).unwrap_err();
        assert!(other.contains("JSON"), "{other}");
    }
}
