//! The bus in process: no broker, no serialisation of the envelope, payloads shared as they are.
//!
//! All that concerns one worker type, its queue and the queues of its workers' ids, is one `Pool` behind one
//! short lock, never held across an await or while foreign code (a waker, a drop of somebody's bytes) runs: a change
//! collects its `Effects` under the lock and carries them out after it. Jobs are pushed to consumers, as a broker does
//! it: round robin among those with room in their prefetch, so that no waiter is woken for nothing.
//!
//! With a `Journal` accepted jobs and dead letters outlive the host; without one nothing is written.

mod consumer;
mod dead;
mod dead_letter_store;
mod effects;
mod expiry;
mod journal;
mod kept;
mod leadership;
mod notifier;
mod pool;
mod queue;
mod restore;
mod send;
mod slot;
mod state;
mod timer;
mod undertaker;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use dashmap::DashMap;
use mshost_bus::{
    Absent, Bus, BusError, BusLimits, BusState, Codec, Consumer, ConsumerOptions, DeadLetterStore, HostBus, Job,
    Leadership, Notification, QueueDepth, SendError, Subscription,
};
use mshost_core::ids::{WorkerRef, WorkerType};
use mshost_core::metrics::Metrics;
use tokio::sync::watch;

use self::consumer::EmbeddedConsumer;
use self::dead::DeadLetters;
use self::journal::{For, Journal};
use self::leadership::SoleHost;
use self::notifier::Notifier;
use self::pool::Pool;
use self::state::Rules;
use self::timer::Timer;
use self::undertaker::Undertaker;
pub use mshost_bus::{JournalConfig, JournalSync};

/// The embedded bus. Dropping it closes it.
pub struct EmbeddedBus {
    core: Arc<Core>,
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

/// What consumers and the tasks share with the bus.
struct Core {
    codec: Codec,
    limits: BusLimits,
    rules: Rules,
    /// One for each type that has workers, or jobs that wait for some.
    pools: DashMap<WorkerType, Arc<Pool>>,
    notifier: Arc<Notifier>,
    timer: Arc<Timer>,
    undertaker: Arc<Undertaker>,
    journal: Option<Arc<Journal>>,
    /// One requeue at a time: two of one dead letter would send its job twice.
    requeuing: tokio::sync::Mutex<()>,
    leadership: SoleHost,
    state: watch::Sender<BusState>,
    closed: AtomicBool,
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
        let (journal, restored) = Journal::open(For::Jobs, config, *codec, limits, metrics.clone())?;
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
        let (journal, restored) = Journal::open(For::DeadLetters, config, *codec, limits, metrics.clone())?;
        // Nobody is there to take what is requeued.
        let bus = Self::build(EmbeddedOptions { absent: Absent::Wait, ..options }, Some(Arc::new(journal)));
        restore::restore(&bus.core, restored);
        Ok(bus)
    }

    fn build(options: EmbeddedOptions, journal: Option<Arc<Journal>>) -> Self {
        let EmbeddedOptions { codec, limits, absent, metrics, .. } = options;
        let notifier = Arc::new(Notifier::new(limits.notifications));
        let undertaker = Arc::new(Undertaker {
            notifier: Arc::clone(&notifier),
            dead: DeadLetters::new(limits.dead_letters, journal.clone()),
            journal: journal.clone(),
            metrics,
            deliveries: limits.deliveries,
        });
        let core = Arc::new(Core {
            codec,
            rules: Rules { queue: limits.queue, deliveries: limits.deliveries, absent },
            limits,
            pools: DashMap::new(),
            notifier,
            timer: Arc::new(Timer::new()),
            undertaker,
            journal,
            requeuing: tokio::sync::Mutex::default(),
            leadership: SoleHost::default(),
            state: watch::Sender::new(BusState::Connected),
            closed: AtomicBool::new(false),
        });
        Self { core }
    }

    fn started(self) -> Self {
        tokio::spawn(timer::run(Arc::clone(&self.core.timer), Arc::downgrade(&self.core)));
        tokio::spawn(expiry::run(Arc::downgrade(&self.core)));
        self
    }
}

impl Core {
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn pool(&self, kind: &str) -> Option<Arc<Pool>> {
        self.pools.get(kind).map(|pool| Arc::clone(&pool))
    }

    fn pool_or_new(&self, kind: &WorkerType) -> Arc<Pool> {
        let new = || Arc::new(Pool::new(kind.clone(), self.rules, Arc::clone(&self.undertaker)));
        Arc::clone(&self.pools.entry(kind.clone()).or_insert_with(new))
    }

    /// Forgets a pool that has nothing and nobody left, so that types which come and go leave nothing behind.
    fn retire(&self, pool: &Arc<Pool>) {
        if pool.retire() {
            self.pools.remove_if(pool.kind(), |_, current| Arc::ptr_eq(current, pool));
        }
    }

    fn close(&self) {
        // From here on `join` makes no new pool that stays open: it looks at `closed` again once it holds the pool's lock.
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.timer.close();
        let pools: Vec<_> = self.pools.iter().map(|entry| Arc::clone(entry.value())).collect();
        for pool in pools {
            pool.close();
        }
        self.notifier.close();
        if let Some(journal) = &self.journal {
            journal.close();
        }
        self.state.send_replace(BusState::Closed);
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
        let pools: Vec<_> = self.core.pools.iter().map(|entry| Arc::clone(entry.value())).collect();
        let mut depths: Vec<_> = pools.iter().flat_map(|pool| pool.depths()).collect();
        depths.sort_by(|a, b| a.queue.cmp(&b.queue));
        depths
    }

    fn pending_jobs(&self) -> u64 {
        let of_pools: u64 = self.core.pools.iter().map(|pool| pool.holds() as u64).sum();
        of_pools + self.core.timer.len() as u64
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
            .field("pools", &self.core.pools.len())
            .field("closed", &self.core.is_closed())
            .finish_non_exhaustive()
    }
}
