//! The headers of a message: their names, which are a contract with hosts of other versions, and how they are read.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use mshost_bus::{Death, DeathReason};
use mshost_core::ids::WorkerId;

/// Attempt number of a job; 1 where absent.
pub(crate) const ATTEMPT: &str = "x-mshost-attempt";
/// Id of the worker that sent the first job of the pipeline; the job's sender where absent.
pub(crate) const ORIGIN: &str = "x-mshost-origin";
/// Set on a job that was published again because its first confirm never came: the first copy may have arrived.
pub(crate) const RESENT: &str = "x-mshost-resent";
/// When a job is no longer wanted, in milliseconds since the epoch.
pub(crate) const DEADLINE: &str = "x-mshost-deadline";
/// When a job that failed is to be tried again, in milliseconds since the epoch.
pub(crate) const DUE: &str = "x-mshost-due";
/// How often a job was delivered and never settled, as far as a host has counted.
pub(crate) const DELIVERIES: &str = "x-mshost-deliveries";
/// The same by the broker's count, in quorum queues.
pub(crate) const DELIVERY_COUNT: &str = "x-delivery-count";
/// Why a dead letter is one: a [`mshost_bus::DeathReason`].
pub(crate) const DEATH: &str = "x-mshost-death";
/// The last error.
pub(crate) const DEATH_ERROR: &str = "x-mshost-death-error";
/// Who tried last.
pub(crate) const DEATH_WORKER: &str = "x-mshost-death-worker";
/// When it was given up, in milliseconds since the epoch.
pub(crate) const DEATH_AT: &str = "x-mshost-death-at";

/// The headers of a message, whatever library wrote them.
pub(crate) struct JobHeaders<'m>(Option<&'m FieldTable>);

impl<'m> JobHeaders<'m> {
    pub(crate) fn of(properties: &'m BasicProperties) -> Self {
        Self(properties.headers().as_ref())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'m AMQPValue> {
        self.0?.inner().get(name)
    }

    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        Some(match self.get(name)? {
            AMQPValue::ShortShortInt(number) => (*number).into(),
            AMQPValue::ShortShortUInt(number) => (*number).into(),
            AMQPValue::ShortInt(number) => (*number).into(),
            AMQPValue::ShortUInt(number) => (*number).into(),
            AMQPValue::LongInt(number) => (*number).into(),
            AMQPValue::LongUInt(number) => (*number).into(),
            AMQPValue::LongLongInt(number) => *number,
            _ => return None,
        })
    }

    pub(crate) fn text(&self, name: &str) -> Option<&'m str> {
        match self.get(name)? {
            AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
            _ => None,
        }
    }

    pub(crate) fn time(&self, name: &str) -> Option<SystemTime> {
        let millis = u64::try_from(self.number(name)?).ok()?;
        UNIX_EPOCH.checked_add(Duration::from_millis(millis))
    }

    pub(crate) fn count(&self, name: &str) -> u32 {
        self.number(name).and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
    }

    /// How often it was delivered before and never settled, by our own count.
    pub(crate) fn counted(&self) -> u32 {
        self.count(DELIVERIES)
    }

    /// How often it was delivered before and never settled: by the broker's own count, where it keeps one (quorum queues),
    /// and by ours. The second says whether the broker counts.
    pub(crate) fn deliveries(&self) -> (u32, bool) {
        let by_broker = self.get(DELIVERY_COUNT).is_some();
        (self.counted().saturating_add(self.count(DELIVERY_COUNT)), by_broker)
    }

    /// Why the broker itself gave the message up: `expired`, `rejected`, `delivery_limit`.
    pub(crate) fn broker_reason(&self) -> Option<&'m str> {
        let AMQPValue::FieldArray(deaths) = self.get("x-death")? else { return None };
        let AMQPValue::FieldTable(last) = deaths.as_slice().first()? else { return None };
        match last.inner().get("reason")? {
            AMQPValue::LongString(reason) => std::str::from_utf8(reason.as_bytes()).ok(),
            _ => None,
        }
    }

    /// Why a dead letter is one.
    pub(crate) fn death(&self) -> Option<Death> {
        Some(Death {
            reason: DeathReason::of_name(self.text(DEATH)?)?,
            error: self.text(DEATH_ERROR).unwrap_or_default().to_owned(),
            worker: self.text(DEATH_WORKER).and_then(|id| WorkerId::new(id).ok()).map(Into::into),
            at: self.time(DEATH_AT).unwrap_or(UNIX_EPOCH),
        })
    }
}

/// Milliseconds since the epoch.
pub(crate) fn timestamp(time: SystemTime) -> AMQPValue {
    let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    AMQPValue::LongLongInt(i64::try_from(millis).unwrap_or(i64::MAX))
}
