//! The embedded bus.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use mshost_bus::{
    Absent, Bus, BusError, BusLimits, BusState, Codec, Consumer, ConsumerOptions, DeadLetterStore, HostBus, Job,
    JournalConfig, Leadership, Notification, QueueDepth, SendError, Subscription,
};
use mshost_core::ids::WorkerRef;
use mshost_core::metrics::Metrics;
use tokio::sync::watch;

use super::consumer::EmbeddedConsumer;
use super::embedded_core::EmbeddedCore;
use super::journal::{Journal, JournalPurpose};
use super::{expiry, restore, retry_task, send};

/// The embedded bus. Dropping it closes it.
pub struct EmbeddedBus {
    pub(super) core: Arc<EmbeddedCore>,
}

/// What an embedded bus is opened with.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// How data is written.
    pub codec: Codec,
    /// Its limits.
    pub limits: BusLimits,
    /// What becomes of a job for a type that had workers and has none now.
    pub absent: Absent,
    /// Where accepted jobs and dead letters outlive the host; `None` is nowhere.
    pub journal: Option<JournalConfig>,
    /// Where it counts what it gives up, if anywhere.
    pub metrics: Option<Arc<Metrics>>,
}

impl EmbeddedBus {
    /// A bus without a journal. See [`EmbeddedBus::open`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new(limits: BusLimits, codec: Codec) -> Self {
        let options = EmbeddedOptions { codec, limits, absent: Absent::default(), journal: None, metrics: None };
        Self::build(options, None).started()
    }

    /// Opens a bus, with all that its journal holds. Its tasks, which wait for retries and deadlines, run on the tokio runtime
    /// that this is called in: call it in the main one. Everything else runs on the callers' threads; a runtime that calls
    /// [`Bus::send`] needs tokio's timer enabled.
    ///
    /// # Errors
    /// [`BusError::Refused`] where the journal cannot be opened, with its file, the reason and what to do.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open(options: EmbeddedOptions) -> Result<Self, BusError> {
        let EmbeddedOptions { codec, limits, journal, metrics, .. } = &options;
        let Some(config) = journal else { return Ok(Self::build(options, None).started()) };
        let (journal, restored) = Journal::open(JournalPurpose::Jobs, config, *codec, limits, metrics.clone())?;
        let bus = Self::build(options, Some(Arc::new(journal)));
        // Before the tasks: they forget what is not used.
        restore::restore(&bus.core, restored);
        Ok(bus.started())
    }

    /// Opens the journal of a host that is down, to look after its dead letters. The jobs in it stay as they are: nothing
    /// expires and nothing is counted. What is requeued waits there until the host starts.
    ///
    /// # Errors
    /// [`BusError::Refused`] where there is no journal, where its host runs, and as in [`EmbeddedBus::open`].
    pub fn open_dead_letters(options: EmbeddedOptions) -> Result<Self, BusError> {
        let EmbeddedOptions { codec, limits, journal, metrics, .. } = &options;
        let Some(config) = journal else {
            let (what, reason) = ("opening the journal".to_owned(), "none is set (`bus.journal`)".to_owned());
            return Err(BusError::Refused { what, reason });
        };
        let (journal, restored) = Journal::open(JournalPurpose::DeadLetters, config, *codec, limits, metrics.clone())?;
        // No worker is there to take what is requeued.
        let bus = Self::build(EmbeddedOptions { absent: Absent::Wait, ..options }, Some(Arc::new(journal)));
        restore::restore(&bus.core, restored);
        Ok(bus)
    }

    fn build(options: EmbeddedOptions, journal: Option<Arc<Journal>>) -> Self {
        let EmbeddedOptions { codec, limits, absent, metrics, .. } = options;
        Self { core: Arc::new(EmbeddedCore::new(codec, limits, absent, metrics, journal)) }
    }

    fn started(self) -> Self {
        tokio::spawn(retry_task::run(Arc::clone(&self.core.retry_timer), Arc::downgrade(&self.core)));
        tokio::spawn(expiry::run(Arc::downgrade(&self.core)));
        self
    }
}

#[async_trait]
impl Bus for EmbeddedBus {
    fn codec(&self) -> Codec {
        self.core.codec
    }

    async fn send(&self, job: Job) -> Result<(), SendError> {
        send::send(&self.core, job).await
    }

    fn try_send(&self, job: Job) -> Result<Result<(), SendError>, Box<Job>> {
        send::try_send(&self.core, job)
    }

    async fn join(&self, worker: &WorkerRef, options: ConsumerOptions) -> Result<Box<dyn Consumer>, BusError> {
        Ok(Box::new(EmbeddedConsumer::join(&self.core, worker, options)?))
    }

    async fn publish(&self, notification: Notification) -> Result<(), BusError> {
        self.core.notifier.publish(notification)
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, BusError> {
        Ok(Box::new(self.core.notifier.subscribe()?))
    }

    fn state(&self) -> watch::Receiver<BusState> {
        self.core.state.subscribe()
    }

    async fn close(&self) {
        self.core.close();
        if let Some(journal) = self.core.journal.clone() {
            // An error means that the runtime ends; then the drop of the bus waits.
            let _ = tokio::task::spawn_blocking(move || journal.join()).await;
        }
    }
}

#[async_trait]
impl HostBus for EmbeddedBus {
    fn dead_letters(&self) -> &dyn DeadLetterStore {
        &*self.core
    }

    fn leadership(&self) -> &dyn Leadership {
        &self.core.leadership
    }

    async fn depths(&self) -> Vec<QueueDepth> {
        let groups: Vec<_> = self.core.groups.iter().map(|entry| Arc::clone(entry.value())).collect();
        let mut depths: Vec<_> = groups.iter().flat_map(|group| group.depths()).collect();
        depths.sort_by(|a, b| a.queue.cmp(&b.queue));
        depths
    }

    fn pending_jobs(&self) -> u64 {
        let of_groups: u64 = self.core.groups.iter().map(|group| group.pending_jobs() as u64).sum();
        of_groups + self.core.retry_timer.len() as u64
    }
}

impl Drop for EmbeddedBus {
    fn drop(&mut self) {
        self.core.close();
        if let Some(journal) = &self.core.journal {
            journal.join();
        }
    }
}

impl fmt::Debug for EmbeddedBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedBus")
            .field("codec", &self.core.codec)
            .field("groups", &self.core.groups.len())
            .field("closed", &self.core.is_closed())
            .finish_non_exhaustive()
    }
}
