//! The dead letters of a bus, as operators see them.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use mshost_bus::{BusError, DeadLetter, DeathReason, HostBus, Job};
use serde_json::Value;

use super::bus_session::sessions::BusSessions;
use crate::admin::{
    DeadLetterEntry, DeadLetterError, DeadLetterFilter, DeadLetterJob, DeadLetterList, DeadLetterRaw, DeadLetterSource,
    MAX_LISTED, RefusedRequeue, RequeueReport,
};

/// The most dead letters of one id that are shown whole: each may be as large as the bus allows.
const MAX_SHOWN: usize = 10;

/// How deep data may be nested that is shown as JSON: well below what readers of JSON take.
const MAX_DEPTH: usize = 64;

/// The dead letters of a bus.
#[derive(Clone)]
pub struct BusDeadLetters {
    bus: Arc<dyn HostBus>,
}

impl BusDeadLetters {
    /// The dead letters of this bus.
    #[must_use]
    pub fn new(bus: Arc<dyn HostBus>) -> Self {
        Self { bus }
    }

    /// The oldest that `fits` lets through, at most `limit`, looking at no more than `look_at`.
    async fn select(
        &self,
        look_at: usize,
        limit: usize,
        fits: impl Fn(&DeadLetter) -> bool,
        view: fn(&DeadLetter) -> DeadLetterEntry,
    ) -> Result<DeadLetterList, DeadLetterError> {
        // Counted first: a broker may not count those that are being read at the moment.
        let total = self.bus.dead_letters().count().await;
        let looked_at = self.bus.dead_letters().list(look_at).await.map_err(unavailable)?;
        let more = total.is_none_or(|total| total > looked_at.len() as u64) && looked_at.len() >= look_at;
        let mut fitting = looked_at.iter().filter(|letter| fits(letter));
        let letters = fitting.by_ref().take(limit).map(view).collect();
        Ok(DeadLetterList { total, truncated: more || fitting.next().is_some(), letters })
    }
}

#[async_trait]
impl DeadLetterSource for BusDeadLetters {
    async fn list(&self, filter: &DeadLetterFilter, limit: usize) -> Result<DeadLetterList, DeadLetterError> {
        let DeadLetterFilter { worker_type, reason } = filter;
        let reason = reason.as_deref().map(known).transpose()?;
        // The bus knows no filters: what they let through may stand behind anything.
        let look_at = if *filter == DeadLetterFilter::default() { limit } else { MAX_LISTED };
        let fits = |letter: &DeadLetter| {
            reason.is_none_or(|reason| letter.death.reason == reason)
                && worker_type.as_deref().is_none_or(|wanted| is_for(letter, wanted))
        };
        self.select(look_at, limit, fits, summary).await
    }

    async fn show(&self, id: &str) -> Result<DeadLetterList, DeadLetterError> {
        self.select(MAX_LISTED, MAX_SHOWN, |letter| letter.id == id, whole).await
    }

    async fn requeue(&self, ids: &[String]) -> Result<RequeueReport, DeadLetterError> {
        let requeued = self.bus.dead_letters().requeue(ids).await.map_err(unavailable)?;
        let refused = requeued.refused.into_iter().map(|(id, error)| RefusedRequeue { id, error: error.to_string() });
        Ok(RequeueReport { sent: requeued.sent, refused: refused.collect(), unknown: requeued.unknown })
    }

    async fn purge(&self) -> Result<u64, DeadLetterError> {
        self.bus.dead_letters().purge().await.map_err(unavailable)
    }
}

/// The dead letters of the bus that workers are on.
pub(super) struct CurrentBusDeadLetters(pub(super) Arc<BusSessions>);

impl CurrentBusDeadLetters {
    fn now(&self) -> BusDeadLetters {
        BusDeadLetters::new(Arc::clone(self.0.current().bus()))
    }
}

#[async_trait]
impl DeadLetterSource for CurrentBusDeadLetters {
    async fn list(&self, filter: &DeadLetterFilter, limit: usize) -> Result<DeadLetterList, DeadLetterError> {
        self.now().list(filter, limit).await
    }

    async fn show(&self, id: &str) -> Result<DeadLetterList, DeadLetterError> {
        self.now().show(id).await
    }

    async fn requeue(&self, ids: &[String]) -> Result<RequeueReport, DeadLetterError> {
        self.now().requeue(ids).await
    }

    async fn purge(&self) -> Result<u64, DeadLetterError> {
        self.now().purge().await
    }
}

fn known(reason: &str) -> Result<DeathReason, DeadLetterError> {
    DeathReason::of_name(reason).ok_or_else(|| {
        let all = DeathReason::ALL.map(DeathReason::name).join("`, `");
        DeadLetterError::Invalid(format!("there is no reason `{reason}`, only `{all}`"))
    })
}

fn unavailable(error: BusError) -> DeadLetterError {
    DeadLetterError::Unavailable(error.to_string())
}

fn is_for(letter: &DeadLetter, wanted: &str) -> bool {
    letter.job.as_ref().is_some_and(|job| *job.route.target().worker_type() == *wanted)
}

fn summary(letter: &DeadLetter) -> DeadLetterEntry {
    let DeadLetter { id, job, raw, death } = letter;
    DeadLetterEntry {
        id: id.clone(),
        reason: death.reason.name().to_owned(),
        error: death.error.clone(),
        worker: death.worker.as_ref().map(|worker| worker.id.to_string()),
        died: death.at.into(),
        job: job.as_ref().map(job_summary),
        raw: raw.as_ref().map(|raw| DeadLetterRaw { size: raw.len(), base64: None }),
    }
}

fn job_summary(job: &Job) -> DeadLetterJob {
    DeadLetterJob {
        target: job.route.target().to_string(),
        route: job.route.addresses().iter().map(ToString::to_string).collect(),
        position: job.route.position(),
        sender: job.sender.id.to_string(),
        origin: job.origin.id.to_string(),
        correlation: job.correlation.to_string(),
        attempts: job.attempt,
        deadline: job.deadline.map(Into::into),
        codec: job.payload.codec().to_string(),
        size: job.payload.bytes().len(),
        data: None,
        base64: None,
    }
}

fn whole(letter: &DeadLetter) -> DeadLetterEntry {
    let mut shown = summary(letter);
    if let (Some(shown), Some(job)) = (&mut shown.job, &letter.job) {
        shown.data = job.payload.decode().ok().filter(|data| is_shallow(data, MAX_DEPTH));
        shown.base64 = Some(BASE64_STANDARD.encode(job.payload.bytes()));
    }
    if let (Some(shown), Some(raw)) = (&mut shown.raw, &letter.raw) {
        shown.base64 = Some(BASE64_STANDARD.encode(raw));
    }
    shown
}

fn is_shallow(data: &Value, depth: usize) -> bool {
    match (data, depth.checked_sub(1)) {
        (Value::Array(_) | Value::Object(_), None) => false,
        (Value::Array(items), Some(depth)) => items.iter().all(|item| is_shallow(item, depth)),
        (Value::Object(fields), Some(depth)) => fields.values().all(|field| is_shallow(field, depth)),
        _ => true,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use mshost_bus::{BusLimits, Codec, ConsumerOptions, Death, Payload, Route};
    use mshost_bus_embedded::EmbeddedBus;
    use mshost_core::ids::{JobId, WorkerId, WorkerRef};

    use super::*;

    fn worker(id: &str) -> WorkerRef {
        WorkerId::new(id).unwrap().into()
    }

    /// Buries a job for each of these types, with this data.
    async fn dead_letter(bus: &Arc<dyn HostBus>, deaths: &[(&str, &str, DeathReason, Value)]) {
        for (id, kind, reason, data) in deaths {
            let taker = worker(&format!("{kind}:1460306476102"));
            let mut consumer = bus.join(&taker, ConsumerOptions::new(1)).await.unwrap();
            let id = JobId::new(id).unwrap();
            let job = Job {
                correlation: id.clone(),
                id,
                route: Route::parse([format!("{kind}:*")]).unwrap(),
                sender: worker("S:1460306476103"),
                origin: worker("S:1460306476103"),
                attempt: 2,
                deadline: None,
                payload: Payload::encode(Codec::MsgPack, data).unwrap(),
            };
            bus.send(job).await.unwrap();
            consumer.next().await.unwrap().dead_letter(Death::now(*reason, "no", Some(taker))).await.unwrap();
        }
    }

    fn nested(depth: usize) -> Value {
        (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]))
    }

    async fn letters() -> BusDeadLetters {
        let bus: Arc<dyn HostBus> = Arc::new(EmbeddedBus::new(BusLimits::default(), Codec::MsgPack));
        let deaths = [
            ("J1", "WA", DeathReason::Failed, nested(MAX_DEPTH)),
            ("J2", "WB", DeathReason::Failed, nested(MAX_DEPTH + 1)),
            ("J3", "WB", DeathReason::Expired, Value::Bool(true)),
        ];
        dead_letter(&bus, &deaths).await;
        BusDeadLetters::new(bus)
    }

    fn ids(list: &DeadLetterList) -> Vec<&str> {
        list.letters.iter().map(|letter| letter.id.as_str()).collect()
    }

    #[tokio::test]
    async fn lists_are_filtered_and_say_whether_there_is_more() {
        let letters = letters().await;
        let list = async |worker_type: Option<&str>, reason: Option<&str>, limit| {
            let filter =
                DeadLetterFilter { worker_type: worker_type.map(str::to_owned), reason: reason.map(str::to_owned) };
            letters.list(&filter, limit).await
        };
        let all = list(None, None, 3).await.unwrap();
        assert_eq!((ids(&all), all.total, all.truncated), (vec!["J1", "J2", "J3"], Some(3), false));
        let two = list(None, None, 2).await.unwrap();
        assert_eq!((ids(&two), two.truncated), (vec!["J1", "J2"], true));
        let one = list(Some("WB"), None, 1).await.unwrap();
        assert_eq!((ids(&one), one.truncated), (vec!["J2"], true));
        let late = list(Some("WB"), Some("expired"), 1).await.unwrap();
        assert_eq!((ids(&late), late.truncated), (vec!["J3"], false));
        let odd = list(None, Some("tired"), 1).await.unwrap_err();
        assert!(odd.to_string().contains("`tired`") && odd.to_string().contains("`no_worker`"), "{odd}");
    }

    #[tokio::test]
    async fn data_is_shown_as_json_where_readers_of_json_take_it() {
        let letters = letters().await;
        let shown = async |id| letters.show(id).await.unwrap().letters.remove(0).job.unwrap();
        let (shallow, deep) = (shown("J1").await, shown("J2").await);
        assert_eq!((shallow.data, deep.data), (Some(nested(MAX_DEPTH)), None));
        assert_eq!(BASE64_STANDARD.decode(deep.base64.unwrap()).unwrap().len(), deep.size);
        assert!(letters.show("J4").await.unwrap().letters.is_empty());
    }
}
