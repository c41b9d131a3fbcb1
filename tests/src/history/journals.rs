//! Reads what has been added to the journals, as often as one likes.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::checker::PipelineHistory;
use super::record::JournalRecord;

/// The journals in a folder.
#[derive(Debug)]
pub struct Journals {
    folder: PathBuf,
    files: HashMap<OsString, JournalFile>,
}

#[derive(Debug)]
struct JournalFile {
    file: File,
    /// A line whose end was not there yet.
    rest: Vec<u8>,
}

impl Journals {
    /// Those in a folder, now and later.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), files: HashMap::new() }
    }

    /// Tells what was added since the last time.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn read(&mut self, history: &mut PipelineHistory) -> std::io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let Some(name) = path.file_name().filter(|_| path.extension().is_some_and(|is| is == "journal")) else {
                continue;
            };
            if !self.files.contains_key(name) {
                self.files.insert(name.to_owned(), JournalFile { file: File::open(&path)?, rest: Vec::new() });
            }
        }
        self.files.values_mut().try_for_each(|journal| journal.read(history))
    }
}

impl JournalFile {
    fn read(&mut self, history: &mut PipelineHistory) -> std::io::Result<()> {
        self.file.read_to_end(&mut self.rest)?;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        for line in self.rest[..end].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match std::str::from_utf8(line).ok().and_then(JournalRecord::parse) {
                Some(record) => history.add(&record),
                None => history.add_torn(),
            }
        }
        self.rest.drain(..=end);
        Ok(())
    }
}
