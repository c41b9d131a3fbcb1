//! The delay queues that are known to exist.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lapin::Channel;
use parking_lot::Mutex;

use super::{Shared, errors, names};
use crate::bus::BusError;

/// Which delays were declared, and when. [`names::round_delay`] bounds how many there are.
#[derive(Debug, Default)]
pub(super) struct Delays(Mutex<BTreeMap<Duration, Instant>>);

impl Delays {
    /// Makes sure that the queue of a delay is there, and stays long enough for a message put into it now.
    pub(super) async fn declare(&self, shared: &Shared, delay: Duration) -> Result<(), BusError> {
        if self.0.lock().get(&delay).is_some_and(|declared| declared.elapsed() < names::RETRY_REDECLARE) {
            return Ok(());
        }
        let link = shared.link().map_err(|error| errors::explain("declare a queue for retries", &error))?;
        let declare = async {
            let channel = link.consume.create_channel().await?;
            names::declare_retry(&channel, delay).await
        };
        link.down.or(declare).await.map_err(|error| errors::explain("declare a queue for retries", &error))?;
        self.0.lock().insert(delay, Instant::now());
        Ok(())
    }

    /// It is not there, whatever we thought.
    pub(super) fn forget(&self, delay: Duration) {
        self.0.lock().remove(&delay);
    }

    /// Declares all again: publishing to an exchange that is not there would break the channel.
    pub(super) async fn declare_all(&self, channel: &Channel) -> lapin::Result<()> {
        let delays: Vec<Duration> = self.0.lock().keys().copied().collect();
        for delay in delays {
            names::declare_retry(channel, delay).await?;
            self.0.lock().insert(delay, Instant::now());
        }
        Ok(())
    }
}
