//! Three private brokers that are one cluster.

use std::net::SocketAddr;

use crate::broker::Broker;
use crate::heavy::{self, Turn};

/// How many nodes: the fewest that can lose one and still be a majority.
pub const NODES: usize = 3;

/// A member comes back into its cluster some time after it takes connections.
const LIMIT_SECONDS: &str = "60";

/// A cluster that lives as long as this value. Its methods block, as those of [`Broker`] do.
#[derive(Debug)]
pub struct Cluster {
    // The first has the epmd of all, and therefore goes last.
    others: [Broker; NODES - 1],
    first: Broker,
    _turn: Turn,
}

impl Cluster {
    /// Starts the nodes and makes them one cluster.
    ///
    /// # Panics
    /// Where they do not.
    #[must_use]
    pub fn start() -> Self {
        let turn = heavy::turn();
        let first = Broker::start();
        let others = [(); NODES - 1].map(|()| Broker::start_beside(&first));
        for other in &others {
            other.join(&first);
        }
        let cluster = Self { others, first, _turn: turn };
        cluster.until_online();
        cluster
    }

    /// Where each node listens.
    #[must_use]
    pub fn addrs(&self) -> [SocketAddr; NODES] {
        std::array::from_fn(|node| self.node(node).addr())
    }

    /// The URL of one node.
    #[must_use]
    pub fn url(&self, node: usize) -> String {
        self.node(node).url()
    }

    /// SIGKILL of one node.
    pub fn kill(&mut self, node: usize) {
        self.node_mut(node).kill();
    }

    /// Starts a node again that was killed, and waits until it is a member again.
    pub fn restart(&mut self, node: usize) {
        self.node_mut(node).restart();
        self.until_online();
    }

    /// Runs `rabbitmqctl` on one node and returns what it prints.
    ///
    /// # Panics
    /// Where the command fails.
    pub fn ctl<S: AsRef<str>>(&self, node: usize, args: impl IntoIterator<Item = S>) -> String {
        self.node(node).ctl(args)
    }

    fn until_online(&self) {
        self.first.ctl(["await_online_nodes", &NODES.to_string(), "--timeout", LIMIT_SECONDS]);
    }

    fn node(&self, node: usize) -> &Broker {
        if node == 0 { &self.first } else { &self.others[node - 1] }
    }

    fn node_mut(&mut self, node: usize) -> &mut Broker {
        if node == 0 { &mut self.first } else { &mut self.others[node - 1] }
    }
}
