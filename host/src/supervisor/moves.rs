//! Follows `[bus]`: opens the bus that the topology wants, and once it can be used has everybody move there.

use std::sync::Arc;
use std::time::Duration;

use mshost_bus::BusState;
use mshost_topology::Topology;
use tokio_util::task::TaskTracker;

use super::departure;
use super::side::Side;
use super::sides::Sides;

const TARGET: &str = "mshost::supervisor";

/// How long a reload waits for the new bus. After that everything else is reloaded, and the move follows by itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// After how long it is looked again whether a bus that could not be opened can be.
const AGAIN: Duration = Duration::from_secs(5);

/// The most buses that may be left at a time: each keeps workers and connections.
const MOST_LEFT: usize = 4;

/// See the module.
pub(super) struct Moves {
    sides: Arc<Sides>,
    wanted: Wanted,
    tasks: TaskTracker,
}

/// A bus that the topology wants and that workers are not on.
enum Wanted {
    None,
    /// It cannot be used yet.
    Opening(Arc<Side>),
    /// It could not even be opened: a journal may be in use still, or its folder not writable yet.
    Refused,
}

impl Moves {
    pub(super) fn new(sides: Arc<Sides>, tasks: TaskTracker) -> Self {
        Self { sides, wanted: Wanted::None, tasks }
    }

    /// Makes the bus of a topology the one that workers live on.
    ///
    /// # Errors
    /// Why they stay where they are. A bus that cannot be used yet goes on being tried: see [`Moves::opened`].
    pub(super) async fn follow(&mut self, topology: &Topology) -> Result<(), String> {
        let current = self.sides.current();
        if topology.bus == current.config {
            self.give_up().await;
            return Ok(());
        }
        let moved = self.move_to(topology).await;
        let outcome = if moved.is_ok() { "moved" } else { "failed" };
        self.sides.metrics().bus_moves.with_label_values(&[outcome]).inc();
        let old = moved.map_err(|why| format!("{why}; everything stays on {}", current.config.url))?;
        let to = self.sides.current();
        tracing::info!(target: TARGET, from = %old.config.url, to = %to.config.url, "moving to another bus");
        // No time for anybody to move back yet.
        let leave = old.leave().unwrap_or_default();
        self.tasks.spawn(departure::see_off(old, leave, Arc::clone(&self.sides)));
        Ok(())
    }

    /// Gives the side that is left.
    async fn move_to(&mut self, topology: &Topology) -> Result<Arc<Side>, String> {
        let known = match &self.wanted {
            Wanted::Opening(side) if side.config == topology.bus => Some(Arc::clone(side)),
            _ => None,
        };
        let (side, patience) = match known {
            Some(side) => (side, Duration::ZERO),
            None => {
                self.give_up().await;
                if let Some(old) = self.turn_back(topology) {
                    return Ok(old);
                }
                self.wanted = Wanted::Refused;
                (self.open(topology)?, PATIENCE)
            }
        };
        self.wanted = Wanted::Opening(Arc::clone(&side));
        let mut state = side.bus().state();
        let connected = state.wait_for(|state| *state == BusState::Connected);
        if !matches!(tokio::time::timeout(patience, connected).await, Ok(Ok(_))) {
            let why = match &*side.bus().state().borrow() {
                BusState::Away { error } => format!(": {error}"),
                _ => String::new(),
            };
            return Err(format!("the new bus {} cannot be used yet{why}; it is tried on", side.config.url));
        }
        // Before anything goes to the new bus: the next host must find what is still on the old one.
        if let Err(error) = self.sides.unfinished.begin(&self.sides.current().config) {
            self.give_up().await;
            self.wanted = Wanted::Refused;
            return Err(format!("that its journal is being left cannot be written to `host.state`: {error}"));
        }
        self.wanted = Wanted::None;
        Ok(self.sides.move_to(side).await)
    }

    fn turn_back(&self, topology: &Topology) -> Option<Arc<Side>> {
        let old = self.sides.turn_back(&topology.bus)?;
        let Sides { unfinished, .. } = &*self.sides;
        if let Err(error) = unfinished.begin(&old.config).and_then(|()| unfinished.end(&topology.bus)) {
            tracing::error!(target: TARGET, "which journals are being left cannot be written to `host.state`: {error}");
        }
        Some(old)
    }

    /// Takes up what a host before this one has left on buses that it was leaving when it was stopped.
    pub(super) fn resume(&self, topology: &Topology) {
        let found = self.sides.unfinished.all().unwrap_or_else(|error| {
            tracing::error!(target: TARGET, "which journals were being left cannot be read in `host.state`: {error}");
            Vec::new()
        });
        for journal in found {
            let opened = journal.reopened(topology).and_then(|reopened| match reopened {
                Some(old) => self.sides.prepare(&old).map(Some).map_err(|error| error.to_string()),
                None => Ok(None),
            });
            let folder = journal.folder().display();
            match opened {
                Ok(Some(side)) => {
                    tracing::info!(target: TARGET, %folder, "jobs of a bus that was being left: carried over now");
                    self.sides.take_on(Arc::clone(&side));
                    self.tasks.spawn(departure::clear(side, Arc::clone(&self.sides)));
                }
                Ok(None) => {}
                Err(why) => tracing::error!(target: TARGET, %folder,
                    "jobs of a bus that was being left stay in its journal until another start: {why}"),
            }
        }
        // Lived on again.
        if let Err(error) = self.sides.unfinished.end(&topology.bus) {
            tracing::error!(target: TARGET, "which journals are being left cannot be written to `host.state`: {error}");
        }
    }

    fn open(&self, topology: &Topology) -> Result<Arc<Side>, String> {
        let left = self.sides.left();
        if let Some(side) = left.iter().find(|side| !side.config.can_move_to(&topology.bus)) {
            return Err(format!("{} is still being left: see `bus.leaving` in /api/topology", side.config.url));
        }
        if left.len() >= MOST_LEFT {
            return Err(format!("{MOST_LEFT} buses are being left already: see `bus.leaving` in /api/topology"));
        }
        self.sides.prepare(topology).map_err(|error| format!("the new bus cannot be used: {error}"))
    }

    /// Returns once it is worth a try to follow again; never where nothing is left to do. Cancel safe.
    pub(super) async fn opened(&self) {
        match &self.wanted {
            Wanted::None => std::future::pending().await,
            Wanted::Refused => tokio::time::sleep(AGAIN).await,
            Wanted::Opening(side) => {
                let mut state = side.bus().state();
                if state.wait_for(|state| *state == BusState::Connected).await.is_err() {
                    std::future::pending().await
                }
            }
        }
    }

    /// The topology wants another by now.
    async fn give_up(&mut self) {
        if let Wanted::Opening(side) = std::mem::replace(&mut self.wanted, Wanted::None) {
            side.close().await;
        }
    }
}
