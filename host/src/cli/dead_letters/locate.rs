//! Locates the dead letters: on a broker, with the host that has an embedded bus, or in the journal that it left.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mshost_bus::{BusState, HostBus};
use mshost_bus_embedded::{EmbeddedOptions, JournalConfig};
use mshost_core::metrics::Metrics;
use mshost_topology::{BusUrl, Topology};

use super::super::print::CommandError;
use super::super::run::load;
use super::journal_source::JournalDeadLetters;
use super::remote_source::RemoteDeadLetters;
use crate::admin::DeadLetterSource;
use crate::supervisor::{BusDeadLetters, open_bus};

/// How long a broker may take to let us in.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

const ANY_PORT: &str = "the topology lets the admin server take any free port (`host.admin`): say with `--admin HOST:PORT` \
                        where the host's log says that it listens";

const NO_ADMIN: &str = "the dead letters of an embedded bus are asked of its host through the admin server, which the topology \
                        turns off: set `host.admin` and restart the host";

const IN_MEMORY: &str = "The dead letters of an embedded bus without a journal (`bus.journal`) are in the memory of its host: \
                         where it does not run, there are none; where it runs elsewhere, say where with `--admin HOST:PORT`";

/// Dead letters that can be asked for.
pub(super) struct LocatedDeadLetters {
    letters: Box<dyn DeadLetterSource>,
    /// Where they are, in words for the operator.
    pub(super) place: String,
    bus: Option<Arc<dyn HostBus>>,
}

impl LocatedDeadLetters {
    fn with_host(remote: RemoteDeadLetters) -> Self {
        let place = format!("the host at {}", remote.address());
        Self { letters: Box::new(remote), place, bus: None }
    }

    /// Closes the connection to a broker.
    pub(super) async fn close(&self) {
        if let Some(bus) = &self.bus {
            bus.close().await;
        }
    }
}

impl Deref for LocatedDeadLetters {
    type Target = dyn DeadLetterSource;

    fn deref(&self) -> &Self::Target {
        &*self.letters
    }
}

/// Locates the dead letters that a topology means.
pub(super) async fn locate(topology: &Path, admin: Option<String>) -> Result<LocatedDeadLetters, CommandError> {
    if let Some(address) = admin {
        let remote = RemoteDeadLetters::new(address);
        remote.try_connect().await.map_err(|error| CommandError::new(format!("{error}: does the host run?")))?;
        return Ok(LocatedDeadLetters::with_host(remote));
    }
    let topology = load(topology)?;
    match &topology.bus.url {
        BusUrl::Amqp(_) => on_broker(&topology).await,
        BusUrl::Embedded => in_host(&topology).await,
    }
}

async fn on_broker(topology: &Topology) -> Result<LocatedDeadLetters, CommandError> {
    let place = topology.bus.url.to_string();
    let bus = open_bus(topology, &Metrics::new().map_err(CommandError::new)?).map_err(CommandError::new)?;
    let mut state = bus.state();
    let settled = state.wait_for(|state| !matches!(state, BusState::Away { .. }));
    let connected = matches!(tokio::time::timeout(CONNECT_LIMIT, settled).await, Ok(Ok(_)));
    let why = match &*bus.state().borrow() {
        BusState::Away { error } if !connected => error.clone(),
        _ => {
            return Ok(LocatedDeadLetters {
                letters: Box::new(BusDeadLetters::new(Arc::clone(&bus))),
                place,
                bus: Some(bus),
            });
        }
    };
    bus.close().await;
    let waited = CONNECT_LIMIT.as_secs();
    Err(CommandError::new(format!("cannot use the broker {place} (`bus.url`), tried for {waited} s: {why}")))
}

/// The running host, or else its journal.
async fn in_host(topology: &Topology) -> Result<LocatedDeadLetters, CommandError> {
    let unanswered = match topology.host.admin {
        Some(address) if address.port() != 0 => {
            let remote = RemoteDeadLetters::new(address.to_string());
            match remote.try_connect().await {
                Ok(()) => return Ok(LocatedDeadLetters::with_host(remote)),
                Err(error) => error.to_string(),
            }
        }
        Some(_) => ANY_PORT.to_owned(),
        None => NO_ADMIN.to_owned(),
    };
    match &topology.bus.journal {
        Some(journal) => in_journal(topology, journal, &unanswered).await,
        None => Err(CommandError::new(format!("{unanswered}. {IN_MEMORY}"))),
    }
}

async fn in_journal(
    topology: &Topology,
    journal: &JournalConfig,
    unanswered: &str,
) -> Result<LocatedDeadLetters, CommandError> {
    let config = &topology.bus;
    let letters = JournalDeadLetters::new(EmbeddedOptions {
        codec: config.codec,
        limits: config.limits.clone(),
        absent: config.absent,
        journal: Some(journal.clone()),
        metrics: None,
    });
    match letters.try_open().await {
        Ok(()) => {
            let place = format!("the journal in {} (no host runs)", journal.folder.display());
            Ok(LocatedDeadLetters { letters: Box::new(letters), place, bus: None })
        }
        Err(error) => Err(CommandError::new(format!("{error}. No host was asked: {unanswered}"))),
    }
}
