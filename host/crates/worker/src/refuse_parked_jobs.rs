//! Refuses the jobs of a type whose workers are all parked, where the topology says that they are to fail.

use std::time::Duration;

use mshost_bus::{BusError, ConsumerOptions, DeathReason};
use mshost_core::backoff::Backoff;
use mshost_core::ids::WorkerRef;
use mshost_plugin_api::SendError;
use mshost_topology::WorkerSpec;
use tokio::sync::watch;

use super::attempt::give_up;
use super::host_context::HostContext;
use super::id_generator::new_worker_id;

/// How often it is looked again whether workers are known that others move away from.
const LOOK: Duration = Duration::from_secs(1);

/// How long to wait after the bus refused something, at first and at most.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Gives up each job that comes for a type, for as long as no worker of it is known. Never ends; dropping the future hands
/// back what it has in hand. It goes by what the manager knows, so that a host without one must not do this.
pub async fn refuse_parked_jobs(spec: &WorkerSpec, host: &HostContext, reason: &str) {
    let mut changes = host.registry.changes();
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT, 0.25);
    loop {
        if host.registry.is_served(&spec.worker_type) {
            // A bus that this one is linked to tells of no change.
            let _ = tokio::time::timeout(LOOK, changes.changed()).await;
            continue;
        }
        match refuse_while_alone(spec, host, &mut changes, reason).await {
            Ok(()) => backoff.reset(),
            Err(error) => {
                let worker_type = &spec.worker_type;
                tracing::warn!(target: "mshost::worker", %worker_type, "the jobs of parked workers wait on: {error}");
                tokio::time::sleep(backoff.next_wait()).await;
            }
        }
    }
}

async fn refuse_while_alone(
    spec: &WorkerSpec,
    host: &HostContext,
    changes: &mut watch::Receiver<()>,
    reason: &str,
) -> Result<(), BusError> {
    let refused = |error: &dyn std::fmt::Display| BusError::Refused {
        what: "making an id".to_owned(),
        reason: error.to_string(),
    };
    let id = new_worker_id(&spec.worker_type).map_err(|error| refused(&error))?;
    // Never announced: it is not to be taken for a worker.
    let stand_in = WorkerRef { id, worker_type: spec.worker_type.clone() };
    let options = ConsumerOptions { prefetch: 1, durability: Some(spec.durability) };
    let mut consumer = host.bus.join(&stand_in, options).await?;
    loop {
        let delivery = tokio::select! {
            biased;
            _ = changes.changed() => match host.registry.is_served(&spec.worker_type) {
                false => continue,
                true => return Ok(()),
            },
            delivery = consumer.next() => delivery.ok_or(BusError::Closed)?,
        };
        let error = format!("{}: {reason}", SendError::NoWorker(delivery.job.route.target().clone()));
        give_up(host, &stand_in, delivery, DeathReason::NoWorker, error).await?;
    }
}
