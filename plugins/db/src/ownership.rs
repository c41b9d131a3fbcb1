//! Which copy of SQLite may use a file.
//!
//! Each loaded version of this plugin brings an SQLite of its own. SQLite locks files by POSIX record locks: they do not hold
//! between two copies in one process, and one copy that closes a file drops the other's. Two at work on one file destroy
//! it. So a version owns the file while workers of it are there, and the next one waits for it.
//!
//! What is owned is the name of an abstract socket, which only this process uses and which ends with it. Other processes need
//! none of this: the locks hold between processes.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The pause between two looks whether the file is free.
const PAUSE: Duration = Duration::from_millis(2);

/// What this copy owns, and how many workers use it. Empty again once all are gone: what a static holds is never freed.
static OWNED: Mutex<BTreeMap<String, (usize, UnixListener)>> = Mutex::new(BTreeMap::new());

/// The right to use a file, shared by all workers of this version. Drop it after the connections.
#[derive(Debug)]
pub struct Ownership(String);

impl Ownership {
    /// Owns the file, unless another version of this plugin does.
    ///
    /// # Errors
    /// Where its folder cannot be looked at, or there is no socket left.
    pub fn try_of(file: &Path) -> io::Result<Option<Self>> {
        let name = name(file)?;
        let mut owned = lock();
        match owned.get_mut(&name) {
            Some((workers, _)) => *workers += 1,
            None => match bind(&name) {
                Ok(socket) => _ = owned.insert(name.clone(), (1, socket)),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Ok(None),
                Err(error) => return Err(error),
            },
        }
        Ok(Some(Self(name)))
    }

    /// Waits until it owns the file.
    ///
    /// # Errors
    /// As [`Ownership::try_of`]; `TimedOut` where it waited for so long in vain.
    pub fn of(file: &Path, limit: Duration) -> io::Result<Self> {
        let began = Instant::now();
        loop {
            if let Some(ownership) = Self::try_of(file)? {
                return Ok(ownership);
            }
            if began.elapsed() > limit {
                let what = format!("another version of this plugin still uses {} after {limit:?}", file.display());
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            std::thread::park_timeout(PAUSE);
        }
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        let mut owned = lock();
        if let Some((workers, _)) = owned.get_mut(&self.0) {
            *workers -= 1;
            if *workers == 0 {
                owned.remove(&self.0);
            }
        }
    }
}

fn bind(name: &str) -> io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

/// One for each file and process, whatever way leads to the file. Containers may share a network and have equal process ids.
fn name(file: &Path) -> io::Result<String> {
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let folder = folder.metadata()?;
    let mut hasher = DefaultHasher::new();
    (folder.dev(), folder.ino(), file.file_name()).hash(&mut hasher);
    std::fs::read_link("/proc/self/ns/pid").unwrap_or_default().hash(&mut hasher);
    Ok(format!("mshost-db-{}-{:016x}", std::process::id(), hasher.finish()))
}

fn lock() -> MutexGuard<'static, BTreeMap<String, (usize, UnixListener)>> {
    OWNED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn another_copy_waits_until_the_last_worker_of_this_one_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("movies.db");
        let first = Ownership::try_of(&file).unwrap().unwrap();
        let second = Ownership::try_of(&folder.path().join(".").join("movies.db")).unwrap().unwrap();
        // What another copy would do.
        let other = || bind(&name(&file).unwrap());
        drop(first);
        assert_eq!(other().unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(second);
        let other = other().unwrap();
        assert!(Ownership::try_of(&file).unwrap().is_none());
        let error = Ownership::of(&file, Duration::ZERO).unwrap_err();
        assert!(error.kind() == io::ErrorKind::TimedOut && error.to_string().contains("movies.db"), "{error}");
        drop(other);
        Ownership::of(&file, Duration::from_secs(20)).unwrap();
        assert!(!lock().contains_key(&name(&file).unwrap()));
    }

    #[test]
    fn files_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["a.db", "b.db"].map(|file| name(&folder.path().join(file)).unwrap());
        assert_ne!(names[0], names[1]);
    }
}
