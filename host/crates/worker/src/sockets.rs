//! Listening sockets belong to the host, which lends duplicates to its workers: a worker is replaced while the kernel goes
//! on queueing connections, so that none is refused.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};

use mshost_core::ids::{PluginName, WorkerType};
use parking_lot::Mutex;

/// Which socket it is: all instances of one `[[worker]]` share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SocketOwner {
    worker_type: WorkerType,
    plugin: PluginName,
    name: String,
    address: SocketAddr,
}

/// Every listening socket that some worker has on loan.
#[derive(Debug, Default)]
pub struct Sockets {
    // Weak: a socket closes with the last worker that has it, and is bound anew by the next.
    bound: Mutex<HashMap<SocketOwner, Weak<TcpListener>>>,
}

/// The sockets of one worker, by the names that the topology's `listen` gives them.
#[derive(Debug, Clone, Default)]
pub struct Listeners {
    by_name: BTreeMap<String, Arc<TcpListener>>,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (`listen.{name}`): {source}")]
pub struct BindError {
    name: String,
    address: SocketAddr,
    source: io::Error,
}

impl Sockets {
    /// Lends the sockets that a worker is to have, binding those that no worker has yet.
    ///
    /// # Errors
    /// [`BindError`] for the first address that is taken or not ours.
    pub fn lend(
        &self,
        worker_type: &WorkerType,
        plugin: &PluginName,
        listen: &BTreeMap<String, SocketAddr>,
    ) -> Result<Listeners, BindError> {
        let mut bound = self.bound.lock();
        bound.retain(|_, socket| socket.strong_count() > 0);
        let mut by_name = BTreeMap::new();
        for (name, &address) in listen {
            let owner =
                SocketOwner { worker_type: worker_type.clone(), plugin: plugin.clone(), name: name.clone(), address };
            let socket = match bound.get(&owner).and_then(Weak::upgrade) {
                Some(socket) => socket,
                None => {
                    let socket = bind(address).map_err(|source| BindError { name: name.clone(), address, source })?;
                    let socket = Arc::new(socket);
                    bound.insert(owner, Arc::downgrade(&socket));
                    socket
                }
            };
            by_name.insert(name.clone(), socket);
        }
        Ok(Listeners { by_name })
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpListener::bind(address)?;
    // Plugins hand it to tokio, which wants it so; a duplicate shares the flag.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Listeners {
    /// A duplicate of the socket of this name.
    ///
    /// # Errors
    /// A message for the user, where the topology names no such socket or no descriptor is left.
    pub fn duplicate(&self, name: &str) -> Result<OwnedFd, String> {
        let socket = self.by_name.get(name).ok_or_else(|| {
            format!(
                "the worker wants a socket {name:?}: add `listen = {{ {name} = \"127.0.0.1:8080\" }}` to its [[worker]]"
            )
        })?;
        socket.try_clone().map(OwnedFd::from).map_err(|error| format!("cannot duplicate the socket {name:?}: {error}"))
    }

    /// Those that another process has lent.
    pub fn of(sockets: BTreeMap<String, TcpListener>) -> Self {
        Self { by_name: sockets.into_iter().map(|(name, socket)| (name, Arc::new(socket))).collect() }
    }

    /// Each socket, to be lent to another process.
    pub fn sockets(&self) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
        self.by_name.iter().map(|(name, socket)| (name.as_str(), socket.as_fd()))
    }

    /// Where each socket really listens (a port 0 has been chosen by now).
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<String, SocketAddr> {
        self.by_name.iter().filter_map(|(name, socket)| Some((name.clone(), socket.local_addr().ok()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn listen(address: &str) -> BTreeMap<String, SocketAddr> {
        BTreeMap::from([("http".to_owned(), address.parse().unwrap())])
    }

    #[test]
    fn a_socket_outlives_its_first_borrower_and_closes_with_its_last() {
        let (sockets, kind, plugin) = (Sockets::default(), WorkerType::new("WA").unwrap(), PluginName::new("rest"));
        let old = sockets.lend(&kind, &plugin, &listen("127.0.0.1:0")).unwrap();
        let new = sockets.lend(&kind, &plugin, &listen("127.0.0.1:0")).unwrap();
        let address = old.addresses()["http"];
        assert_eq!(new.addresses()["http"], address);
        drop(old);
        std::net::TcpStream::connect(address).unwrap();
        drop(new);
        std::net::TcpStream::connect(address).unwrap_err();
    }

    #[test]
    fn a_taken_address_is_named() {
        let (sockets, kind, plugin) = (Sockets::default(), WorkerType::new("WA").unwrap(), PluginName::new("rest"));
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let error = sockets.lend(&kind, &plugin, &listen(&address)).unwrap_err().to_string();
        assert!(error.contains(&address) && error.contains("listen.http"), "{error}");
    }

    #[test]
    fn an_unknown_name_says_what_to_write() {
        assert!(Listeners::default().duplicate("http").unwrap_err().contains("listen = { http ="));
    }
}
