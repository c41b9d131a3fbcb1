//! Scan of a plugin folder: which plugins it holds, and the fingerprint of each file's content.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, FileType, OpenOptions};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mshost_core::ids::PluginName;

use super::file_snapshot::{FileStat, plugin_files};

/// The largest file that is taken for a plugin, in bytes.
const MAX_SIZE: u64 = 1 << 30;

/// Fingerprint of a file's content. Equal fingerprints mean equal content, wherever and whenever it was written. The hash guards
/// against accidents, not against an attacker, who could as well replace the plugin.
#[derive(Debug, Clone, Copy)]
pub struct Fingerprint {
    /// The file when its content was read.
    pub stat: FileStat,
    hash: u64,
}

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        (self.stat.size, self.hash) == (other.stat.size, other.hash)
    }
}

impl Eq for Fingerprint {}

impl Fingerprint {
    /// Reads the whole file: some milliseconds per 10 MB. Blocks.
    ///
    /// # Errors
    /// Where the path is not a file, cannot be read, or is being written.
    pub fn of(path: &Path) -> Result<Self, FileProblem> {
        let unreadable = |error| FileProblem::unreadable(path, error);
        // Without O_NONBLOCK a FIFO of this name would keep us waiting for its writer.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(unreadable)?;
        let meta = file.metadata().map_err(unreadable)?;
        if !meta.is_file() {
            return Err(FileProblem::NotAFile { path: path.to_owned(), what: kind_of_file(meta.file_type()) });
        }
        let stat = FileStat::from(&meta);
        if stat.size > MAX_SIZE {
            return Err(FileProblem::TooLarge { path: path.to_owned(), size: stat.size });
        }
        let hash = hash(&file).map_err(unreadable)?;
        if FileStat::from(&file.metadata().map_err(unreadable)?) != stat {
            return Err(FileProblem::Changing { path: path.to_owned() });
        }
        Ok(Self { stat, hash })
    }
}

fn hash(file: &File) -> io::Result<u64> {
    let mut hasher = DefaultHasher::new();
    let mut file = file.take(MAX_SIZE);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(n) => hasher.write(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A file with a plugin's name, and its fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub fingerprint: Fingerprint,
}

/// A file in the plugin folder that cannot be used. Its plugin's name is known all the same.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// Two files for one name.
    #[error("{} and {} are both the plugin `{name}`: remove one of them", .first.display(), .second.display())]
    Ambiguous {
        /// The name.
        name: PluginName,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// It cannot be read.
    #[error("{}: cannot read it: {error}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// It is a link that leads nowhere.
    #[error("{}: it is a link to {}, which is not there", .path.display(), .target.display())]
    Dangling {
        /// The link.
        path: PathBuf,
        /// Its target.
        target: PathBuf,
    },
    /// It is a folder or a device.
    #[error("{}: expected a shared library, found {what}", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// It is larger than any plugin.
    #[error("{}: expected a plugin of at most {MAX_SIZE} bytes, found a file of {size}", .path.display())]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// It is being written; a [`super::Watcher`] reports it again when that is over.
    #[error("{} is being written", .path.display())]
    Changing {
        /// The file.
        path: PathBuf,
    },
}

impl FileProblem {
    /// A label for metrics, as those of [`crate::LoadError::kind`].
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ambiguous { .. } => "ambiguous",
            Self::Unreadable { .. } | Self::Dangling { .. } | Self::Changing { .. } => "io",
            Self::NotAFile { .. } | Self::TooLarge { .. } => "not_a_library",
        }
    }

    fn unreadable(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        match std::fs::read_link(&path) {
            Ok(target) if error.kind() == io::ErrorKind::NotFound => Self::Dangling { path, target },
            _ => Self::Unreadable { path, error },
        }
    }
}

/// What a path is that is no file.
fn kind_of_file(kind: FileType) -> &'static str {
    match kind {
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a named pipe",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    }
}

/// A plugin folder that cannot be read. What runs should keep running.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the plugin folder {}: {error}", .path.display())]
pub struct FolderError {
    /// The folder.
    pub path: PathBuf,
    /// What the system says.
    pub error: io::Error,
}

/// A folder of plugin files. It remembers what it has read, so that an unchanged file is not read twice.
#[derive(Debug)]
pub struct PluginFolder {
    path: PathBuf,
    known: HashMap<PathBuf, Fingerprint>,
}

impl PluginFolder {
    /// A folder; it need not exist yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), known: HashMap::new() }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The plugins that are in it: `libdb.so` or `db.so` for `db`. Dot files and other names are ignored, and a folder
    /// that does not exist is empty. Blocks.
    ///
    /// # Errors
    /// Where the folder cannot be listed. A file that cannot be used is the problem of its plugin alone.
    pub fn scan(&mut self) -> Result<BTreeMap<PluginName, Result<PluginFile, FileProblem>>, FolderError> {
        let files = plugin_files(&self.path).map_err(|error| FolderError { path: self.path.clone(), error })?;
        self.known.retain(|known, _| files.iter().any(|(_, path)| path == known));
        let mut plugins = BTreeMap::new();
        // Files of one name stand next to each other.
        for same_name in files.chunk_by(|(a, _), (b, _)| a == b) {
            let result = match same_name {
                [(name, first), (_, second), ..] => {
                    Err(FileProblem::Ambiguous { name: name.clone(), first: first.clone(), second: second.clone() })
                }
                [(_, path)] => self.read(path),
                [] => continue,
            };
            plugins.insert(same_name[0].0.clone(), result);
        }
        Ok(plugins)
    }

    fn read(&mut self, path: &Path) -> Result<PluginFile, FileProblem> {
        let stat = std::fs::metadata(path).ok().map(|meta| FileStat::from(&meta));
        let fingerprint = match self.known.get(path) {
            Some(known) if Some(known.stat) == stat => *known,
            _ => Fingerprint::of(path)?,
        };
        self.known.insert(path.to_owned(), fingerprint);
        Ok(PluginFile { path: path.to_owned(), fingerprint })
    }
}
