//! The task that gives up jobs whose deadline passes while they wait. Looking at the front of each queue is enough: jobs behind it are found when
//! they come to the front or are delivered, and the deadlines of one sender mostly pass in the order of its jobs.

use std::sync::Weak;
use std::time::{Duration, SystemTime};

use tokio::time::MissedTickBehavior;

use super::embedded_core::EmbeddedCore;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(500);
/// The most jobs that are given up of one queue under one lock.
const MOST_AT_ONCE: usize = 256;

/// Looks again and again. Ends when the bus is closed.
pub(super) async fn run(core: Weak<EmbeddedCore>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(core) = core.upgrade().filter(|core| !core.is_closed()) else { return };
        let groups: Vec<_> = core.groups.iter().map(|entry| entry.value().clone()).collect();
        for group in groups {
            while group.expire(SystemTime::now(), MOST_AT_ONCE) {
                tokio::task::yield_now().await;
            }
            core.retire(&group);
        }
    }
}
