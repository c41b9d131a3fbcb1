//! Start mode of a child's worker: what the supervisor decides, as it is sent to the child.

use std::future::pending;
use std::time::Duration;

use mshost_plugin_host::StateSnapshot;
use mshost_worker::{JobShare, StartMode};
use tokio::sync::oneshot;
use tokio::time::{Interval, MissedTickBehavior};

use crate::ipc::message::{HostCommand, HostMessage};
use crate::ipc::outbound_queue::OutboundQueue;
use crate::ipc::spawn_request::IpcStartMode;
use crate::ipc::state_chunks::state_chunks;

/// How often a canary is told the progress of its baseline: as often as it checks.
const BASELINE_INTERVAL: Duration = Duration::from_millis(20);

/// The start mode for the spawn request.
pub(super) fn for_child(start_mode: &StartMode) -> IpcStartMode {
    match start_mode {
        StartMode::Immediate => IpcStartMode::Immediate,
        StartMode::Handover => IpcStartMode::Handover,
        StartMode::Canary(share) => IpcStartMode::Canary(share.fraction),
    }
}

/// Waits until the worker may join. Cancel safe.
pub(super) async fn wait_for_admission(
    admitted: &mut Option<oneshot::Receiver<Option<StateSnapshot>>>,
) -> Option<StateSnapshot> {
    let Some(receiver) = admitted else { return pending().await };
    let admission = receiver.await;
    *admitted = None;
    match admission {
        Ok(state) => state,
        // The supervisor no longer wants it, and stops it.
        Err(_) => pending().await,
    }
}

/// Admits the child's worker to the bus, with the state of its predecessor.
pub(super) fn admit(state: Option<StateSnapshot>, outbound: &OutboundQueue) {
    let schema = state.map(|state| {
        let schema = state.schema;
        // Lost where the child is gone; so below.
        for chunk in state_chunks(state) {
            let _ = outbound.push(&HostMessage::Command(HostCommand::StateChunk), &chunk);
        }
        schema
    });
    let _ = outbound.send(&HostMessage::Command(HostCommand::Admit(schema)));
}

/// The progress of the baseline of a canary, as it is sent to the canary's child.
pub(super) struct BaselineProgress {
    share: JobShare,
    /// The jobs that it had started before the canary.
    before: u64,
    sent: u64,
    interval: Interval,
}

impl BaselineProgress {
    /// `None` where the child's worker is not a canary.
    pub(super) fn of(start_mode: &StartMode) -> Option<Self> {
        let StartMode::Canary(share) = start_mode else { return None };
        let mut interval = tokio::time::interval(BASELINE_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Some(Self { before: share.other.begun(), share: share.clone(), sent: 0, interval })
    }

    /// Keeps sending the number of jobs that the baseline has started since. Never ends. Cancel safe.
    pub(super) async fn follow(baseline: &mut Option<Self>, outbound: &OutboundQueue) {
        let Some(baseline) = baseline else { return pending().await };
        loop {
            baseline.interval.tick().await;
            let started = baseline.share.other.begun().saturating_sub(baseline.before);
            if started != baseline.sent {
                baseline.sent = started;
                let _ = outbound.send(&HostMessage::Command(HostCommand::BaselineStarted(started)));
            }
        }
    }
}
