//! The workers of a host leave a bus for another, and nothing that the old one has accepted is lost.
//!
//! Keepers start a successor for each worker on the new bus. Once all have one, whoever brings work in on the old bus
//! finishes what it has begun while the others go on; then what still waits there is done, for a while, and all leave. What is
//! left on an embedded bus is carried over ([`carry`](super::carry)); a broker keeps it for others. Until the end each side
//! reaches the other through its [`Transit`](super::transit::Transit).

use std::sync::Arc;
use std::time::Duration;

use mshost_bus::{Bus, QueueDepth};
use mshost_topology::BusUrl;
use tokio_util::sync::CancellationToken;

use super::carry::Porter;
use super::side::Side;
use super::sides::Sides;

const TARGET: &str = "mshost::supervisor";

/// How long jobs that wait on the old bus are still done there: as long as a drain takes by default.
const EMPTYING: Duration = Duration::from_secs(10);

/// How long those who bring work in may take to finish what they have begun; each has its own `drain_timeout`, too.
const FINISHING: Duration = Duration::from_secs(60);

/// How often it is looked whether the old bus is empty.
const LOOK: Duration = Duration::from_millis(100);

/// After how long it is said that a worker keeps the old bus open.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sees a side off that the host has left, and closes it when nothing is left there.
/// `leave` has the workers leave that have a successor.
pub(super) async fn see_off(side: Arc<Side>, leave: CancellationToken, sides: Arc<Sides>) {
    let porter = Porter::new(&side, &sides);
    tokio::select! {
        () = sides.hurry.cancelled() => break_off(&side, &leave).await,
        is_left = left(&side, &leave, &sides, &porter) => if is_left {
            close(&side, &sides).await;
        },
        never = porter.carry(), if side.config.url == BusUrl::Embedded => match never {},
    }
}

/// Carries over what an earlier host has left on an embedded bus that nobody is on, and closes it.
pub(super) async fn clear(side: Arc<Side>, sides: Arc<Sides>) {
    let porter = Porter::new(&side, &sides);
    tokio::select! {
        () = sides.hurry.cancelled() => {}
        () = empty(&porter) => close(&side, &sides).await,
        never = porter.carry() => match never {},
    }
}

async fn empty(porter: &Porter<'_>) {
    porter.emptied().await;
    let (jobs, dead_letters) = (porter.carried(), porter.carry_dead().await);
    tracing::info!(target: TARGET, jobs, dead_letters, "carried over to the new bus");
}

async fn close(side: &Arc<Side>, sides: &Sides) {
    let forgotten = side.bus().holds();
    if forgotten > 0 {
        tracing::error!(target: TARGET, bus = %side.config.url, forgotten, "a bug in the host: jobs came to a bus that was left");
    }
    sides.remove(side);
    side.close().await;
    if let Err(error) = sides.unfinished.end(&side.config) {
        tracing::error!(target: TARGET, "which journals are being left cannot be written to `host.state`: {error}");
    }
    tracing::info!(target: TARGET, bus = %side.config.url, "the old bus is left and closed");
}

/// Returns once nobody and nothing is left; with `false` where workers have come back.
async fn left(side: &Arc<Side>, leave: &CancellationToken, sides: &Sides, porter: &Porter<'_>) -> bool {
    tokio::select! {
        () = leave.cancelled() => return false,
        () = all_have_successors(side) => {}
    }
    if !sides.is_left_for_good(side) {
        return false;
    }
    let _ = tokio::time::timeout(FINISHING, side.surroundings.closing.close()).await;
    let _ = tokio::time::timeout(EMPTYING, async {
        while waiting(&**side.bus()).await > 0 {
            tokio::time::sleep(LOOK).await;
        }
    })
    .await;
    let unfinished = waiting(&**side.bus()).await;
    leave.cancel();
    side.aboard.close();
    side.aboard.wait().await;
    sides.cut_off(side).await;
    match side.config.url {
        BusUrl::Embedded => empty(porter).await,
        BusUrl::Amqp(_) if unfinished > 0 => {
            tracing::warn!(target: TARGET, bus = %side.config.url, unfinished,
                "jobs wait there on: the broker keeps them for the workers of other hosts");
        }
        BusUrl::Amqp(_) => {}
    }
    true
}

/// The host shuts down: workers leave as they do where it has one bus.
async fn break_off(side: &Side, leave: &CancellationToken) {
    leave.cancel();
    side.aboard.close();
    side.aboard.wait().await;
    let jobs = side.bus().holds();
    if jobs > 0 && side.config.journal.is_none() {
        tracing::warn!(target: TARGET, jobs, "not carried over to the new bus: they end with the host");
    }
}

async fn all_have_successors(side: &Side) {
    side.staying.close();
    if tokio::time::timeout(PATIENCE, side.staying.wait()).await.is_err() {
        let workers = side.staying.len();
        tracing::warn!(target: TARGET, bus = %side.config.url, workers,
            "the old bus is kept open: not every worker has a successor on the new one");
        side.staying.wait().await;
    }
}

/// How many jobs wait for any worker of their type, or are in the hands of one.
async fn waiting(bus: &dyn Bus) -> u64 {
    let of_type = |depth: &QueueDepth| depth.queue.ends_with(":*");
    bus.depths().await.iter().filter(|depth| of_type(depth)).map(|depth| depth.ready + depth.unsettled).sum()
}
