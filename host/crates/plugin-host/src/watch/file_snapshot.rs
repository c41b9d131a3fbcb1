//! Snapshot of the watched files: which there are, and the metadata by which a change shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mshost_core::ids::PluginName;

/// A plugin folder with more files than this is refused: it is probably the wrong folder.
pub(super) const MAX_FILES: usize = 1_024;

/// The paths that are watched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roots {
    /// Folders whose plugin files are watched, not those of folders inside. They need not exist yet.
    pub folders: BTreeSet<PathBuf>,
    /// Single files, as the topology. They need not exist yet.
    pub files: BTreeSet<PathBuf>,
}

impl Roots {
    /// The kernel reports absolute paths, and the working directory may change.
    pub(super) fn absolute(self) -> Self {
        let absolute = |paths: BTreeSet<PathBuf>| {
            paths.into_iter().map(|path| std::path::absolute(&path).unwrap_or(path)).collect()
        };
        Self { folders: absolute(self.folders), files: absolute(self.files) }
    }
}

/// The metadata by which a change of a file shows without reading it. Links are followed, so a link that is swapped counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    /// The file system.
    pub device: u64,
    /// The file in it.
    pub inode: u64,
    /// Its size in bytes.
    pub size: u64,
    /// When its content was last written, in seconds and nanoseconds since the epoch; programs can set it.
    pub modified: (i64, i64),
    /// When anything about it last changed, in the same units; only the kernel sets it.
    pub changed: (i64, i64),
}

impl From<&Metadata> for FileStat {
    fn from(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

impl FileStat {
    /// For how long the file has not changed; `None` where its clock is ahead of ours.
    pub(super) fn at_rest_for(&self, now: SystemTime) -> Option<Duration> {
        let changed = Duration::new(self.changed.0.try_into().ok()?, self.changed.1.try_into().ok()?);
        now.duration_since(UNIX_EPOCH + changed).ok()
    }
}

/// What a scan has found at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileStatus {
    File(FileStat),
    /// It exists and cannot be read, which is not the same as gone: no plugin may be unloaded for it.
    Unreadable(io::ErrorKind),
}

/// The result of one scan. A file that does not exist is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct FileSnapshot(BTreeMap<PathBuf, FileStatus>);

impl FileSnapshot {
    pub(super) fn take(roots: &Roots) -> Self {
        let mut snapshot = Self::default();
        for file in &roots.files {
            snapshot.look_at(file);
        }
        for folder in &roots.folders {
            match plugin_files(folder) {
                Ok(files) => files.iter().for_each(|(_, path)| snapshot.look_at(path)),
                Err(error) => {
                    snapshot.0.insert(folder.clone(), FileStatus::Unreadable(error.kind()));
                }
            }
        }
        snapshot
    }

    fn look_at(&mut self, path: &Path) {
        let found = match fs::metadata(path) {
            Ok(meta) => FileStatus::File(FileStat::from(&meta)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => FileStatus::Unreadable(error.kind()),
        };
        self.0.insert(path.to_owned(), found);
    }

    pub(super) fn get(&self, path: &Path) -> Option<FileStatus> {
        self.0.get(path).copied()
    }

    pub(super) fn stat(&self, path: &Path) -> Option<FileStat> {
        self.get(path).and_then(|found| if let FileStatus::File(stat) = found { Some(stat) } else { None })
    }

    pub(super) fn difference(&self, other: &Self) -> BTreeSet<PathBuf> {
        let paths = self.0.keys().chain(other.0.keys());
        paths.filter(|path| self.get(path) != other.get(path)).cloned().collect()
    }

    /// Makes the entry of `path` what it is in `other`.
    pub(super) fn take_over(&mut self, path: &Path, other: &Self) {
        match other.get(path) {
            Some(found) => self.0.insert(path.to_owned(), found),
            None => self.0.remove(path),
        };
    }
}

/// The files in `folder` whose names are those of plugins, in the order of their names. A folder that does not exist is empty.
pub(super) fn plugin_files(folder: &Path) -> io::Result<Vec<(PluginName, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str().and_then(PluginName::of_file_name) {
            files.push((name, entry.path()));
        }
        if files.len() > MAX_FILES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it holds more than {MAX_FILES} plugins")));
        }
    }
    files.sort();
    Ok(files)
}
