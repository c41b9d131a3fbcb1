//! When a child's worker joins the bus, and for what: what the supervisor decides, as the child is told.

use std::future::pending;
use std::time::Duration;

use mshost_plugin_host::StateSnapshot;
use mshost_worker::{Entrance, Share};
use tokio::sync::oneshot;
use tokio::time::{Interval, MissedTickBehavior};

use crate::charge;
use crate::link::Outbound;
use crate::message::{Notice, Reply};
use crate::snapshot::pieces;

/// How often a worker on trial hears of the one beside it: as often as it looks.
const TELL: Duration = Duration::from_millis(20);

/// What the child is told at its start.
pub(super) fn charged(entrance: &Entrance) -> charge::Entrance {
    match entrance {
        Entrance::AtOnce => charge::Entrance::AtOnce,
        Entrance::Admitted => charge::Entrance::Admitted,
        Entrance::OnTrial(share) => charge::Entrance::OnTrial(share.of),
    }
}

/// Waits until the worker may join. Cancel safe.
pub(super) async fn admission(
    admitted: &mut Option<oneshot::Receiver<Option<StateSnapshot>>>,
) -> Option<StateSnapshot> {
    let Some(receiver) = admitted else { return pending().await };
    let told = receiver.await;
    *admitted = None;
    match told {
        Ok(state) => state,
        // Nobody wants it any more, and it is stopped.
        Err(_) => pending().await,
    }
}

/// Tells the child that its worker may join, and what the one before knew.
pub(super) fn admit(state: Option<StateSnapshot>, outbound: &Outbound) {
    let schema = state.map(|state| {
        let schema = state.schema;
        // Where the child is gone, nobody waits; nor below.
        for piece in pieces(state) {
            let _ = outbound.push(&Reply::Worker(Notice::Piece), &piece);
        }
        schema
    });
    let _ = outbound.tell(&Reply::Worker(Notice::Admit(schema)));
}

/// The worker that a child's is on trial beside.
pub(super) struct Beside {
    share: Share,
    /// What it had begun before.
    before: u64,
    told: u64,
    tell: Interval,
}

impl Beside {
    /// `None` where the child's worker is not on trial.
    pub(super) fn of(entrance: &Entrance) -> Option<Self> {
        let Entrance::OnTrial(share) = entrance else { return None };
        let mut tell = tokio::time::interval(TELL);
        tell.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Some(Self { before: share.beside.begun(), share: share.clone(), told: 0, tell })
    }

    /// Tells the child, again and again, what the other has begun since. Never ends. Cancel safe.
    pub(super) async fn follow(beside: &mut Option<Self>, outbound: &Outbound) {
        let Some(beside) = beside else { return pending().await };
        loop {
            beside.tell.tick().await;
            let begun = beside.share.beside.begun().saturating_sub(beside.before);
            if begun != beside.told {
                beside.told = begun;
                let _ = outbound.tell(&Reply::Worker(Notice::Beside(begun)));
            }
        }
    }
}
