//! Dead letters of a host that is down: in the journal of its embedded bus.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mshost_bus::HostBus;
use mshost_bus_embedded::{EmbeddedBus, EmbeddedOptions};

use crate::admin::{DeadLetterError, DeadLetterFilter, DeadLetterList, DeadLetterSource, MAX_REQUEUED, RequeueReport};
use crate::supervisor::BusDeadLetters;

/// How long its disk may take for as many changes as are asked for at a time.
const WRITE_LIMIT: Duration = Duration::from_secs(60);

/// The dead letters in a journal. It is open for no longer than each question takes: it is locked meanwhile, and a host could
/// not start.
pub(super) struct JournalDeadLetters {
    options: EmbeddedOptions,
}

impl JournalDeadLetters {
    /// The dead letters of the journal that the options name.
    pub(super) fn new(options: EmbeddedOptions) -> Self {
        Self { options }
    }

    /// Whether they can be looked at.
    pub(super) async fn try_open(&self) -> Result<(), DeadLetterError> {
        self.with(async |_| Ok(())).await
    }

    async fn with<T>(
        &self,
        ask: impl AsyncFnOnce(&BusDeadLetters) -> Result<T, DeadLetterError>,
    ) -> Result<T, DeadLetterError> {
        let bus = EmbeddedBus::open_dead_letters(self.options.clone());
        let bus: Arc<dyn HostBus> = Arc::new(bus.map_err(|error| DeadLetterError::Unavailable(error.to_string()))?);
        let asked = ask(&BusDeadLetters::new(Arc::clone(&bus))).await;
        bus.close().await;
        asked
    }
}

/// A disk that is full or hangs is said, not waited for.
async fn written<T>(change: impl Future<Output = Result<T, DeadLetterError>>) -> Result<T, DeadLetterError> {
    tokio::time::timeout(WRITE_LIMIT, change).await.unwrap_or_else(|_| {
        let waited = WRITE_LIMIT.as_secs();
        let why = format!("the journal could not be written within {waited} s; is its disk full?");
        Err(DeadLetterError::Unavailable(why))
    })
}

#[async_trait]
impl DeadLetterSource for JournalDeadLetters {
    async fn list(&self, filter: &DeadLetterFilter, limit: usize) -> Result<DeadLetterList, DeadLetterError> {
        self.with(async |letters| letters.list(filter, limit).await).await
    }

    async fn show(&self, id: &str) -> Result<DeadLetterList, DeadLetterError> {
        self.with(async |letters| letters.show(id).await).await
    }

    async fn requeue(&self, ids: &[String]) -> Result<RequeueReport, DeadLetterError> {
        self.with(async |letters| {
            let mut report = RequeueReport::default();
            for ids in ids.chunks(MAX_REQUEUED) {
                let RequeueReport { sent, refused, unknown } = written(letters.requeue(ids)).await?;
                report.sent.extend(sent);
                report.refused.extend(refused);
                report.unknown.extend(unknown);
            }
            Ok(report)
        })
        .await
    }

    async fn purge(&self) -> Result<u64, DeadLetterError> {
        self.with(async |letters| written(letters.purge()).await).await
    }
}
