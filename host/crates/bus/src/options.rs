//! The options that a bus is opened with. The host maps the `[bus]` section of `topology.toml` to them; an engine reads no file.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Where the jobs and the dead letters of the embedded bus outlive the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalConfig {
    /// A folder of its own, relative to the folder of the topology (`journal`).
    pub folder: PathBuf,
    /// When it is on the disk (`journal_sync`).
    pub sync: JournalSync,
    /// The most bytes that it may take; beyond, new jobs are refused (`journal_limit`).
    pub limit: u64,
}

/// What a journal outlives. A host that is killed loses nothing under any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JournalSync {
    /// A loss of power, too: each commit waits for the disk.
    #[default]
    Always,
    /// A loss of power takes the last jobs along, those since the last checkpoint (about 4 MB).
    Checkpoint,
    /// A loss of power may take the whole journal along: the operating system writes when it likes.
    Never,
}

/// What a job outlives that waits in a queue of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Its worker and its host, not the broker.
    Transient,
    /// A restart of the broker.
    #[default]
    Durable,
    /// The loss of any minority of a cluster's nodes: in quorum queues.
    Replicated,
}

/// What becomes of a job for a type that had workers and has none now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Absent {
    /// Its sender is told at once that there is no worker.
    #[default]
    Fail,
    /// It waits for the next worker of the type until its deadline.
    Wait,
}

/// The limits of a bus; each can be set in `[bus]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusLimits {
    /// The most jobs that wait in one queue; senders wait beyond (`queue_limit`).
    pub queue: usize,
    /// The largest job, in bytes of payload (`max_message`).
    pub message_bytes: usize,
    /// The most notifications that wait for one slow subscriber (`notification_limit`).
    pub notifications: usize,
    /// The most jobs that are sent and not yet confirmed by a broker (`in_flight_limit`).
    pub in_flight: usize,
    /// How often a job may be delivered and not settled before it is taken for one that kills its workers
    /// (`delivery_limit`).
    pub deliveries: u32,
    /// The most dead letters that are kept; jobs that fail beyond stay in their queues (`dead_letter_limit`).
    pub dead_letters: usize,
    /// How long a sender waits at a limit or for a bus that is away (`send_timeout`).
    pub send_timeout: Duration,
    /// How long a broker may take to set up a consumer; then the connection is given up and made anew (`answer_timeout`).
    pub answer_timeout: Duration,
}

impl BusLimits {
    /// The limits where the topology says nothing.
    pub const DEFAULT: Self = Self {
        queue: 100_000,
        message_bytes: 16 << 20,
        notifications: 4_096,
        in_flight: 1_024,
        // Fewer than the restarts that park a worker: the job that kills it goes first.
        deliveries: 8,
        dead_letters: 100_000,
        send_timeout: Duration::from_secs(10),
        // RabbitMQ gives up by itself after 65 s where a quorum queue has no leader, and closes the connection.
        answer_timeout: Duration::from_secs(60),
    };
}

impl Default for BusLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The TLS settings of a bus: which servers to trust, and which certificate to show them. `Debug` shows how much there is of each.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct BusTls {
    /// The authorities to trust instead of the system's (`ca_file`).
    pub authorities: Option<Vec<CertificateDer<'static>>>,
    /// The client certificate and its key (`cert_file`, `key_file`).
    pub identity: Option<Identity>,
    /// The name to expect in the broker's certificate instead of the URL's host (`server_name`).
    pub server_name: Option<String>,
}

/// A client certificate. `Debug` leaves the key out.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, then those that lead to its authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key of the first.
    pub key: Arc<PrivateKeyDer<'static>>,
}

impl fmt::Debug for BusTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusTls")
            .field("authorities", &self.authorities.as_ref().map(Vec::len))
            .field("identity", &self.identity)
            .field("server_name", &self.server_name)
            .finish()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}
