//! One attempt at one job: hand it to the plugin, then settle it by what became of it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mshost_bus::{BusError, Death, DeathReason, Delivery, EXPIRED, Failure};
use mshost_core::ids::WorkerRef;
use mshost_plugin_api::Retry;
use mshost_plugin_host::{HandlerError, JobHeader};

use super::host_context::HostContext;
use super::worker_context::WorkerContext;

/// What MicroServices.js says of a job that has used up its sends; its workers may look for it.
const TOO_MANY: &str = "Job send too many times";

/// How an attempt ended.
pub(super) enum AttemptOutcome {
    /// The handler returned, and the job has been acked.
    Done,
    /// Why it failed.
    Failed(String),
}

/// Does one job and settles it. Dropping the future cancels the handler and hands the job back.
pub(super) async fn attempt(
    context: Arc<WorkerContext>,
    handler: impl Future<Output = Result<(), HandlerError>>,
    delivery: Delivery,
) -> AttemptOutcome {
    context.counters.received_jobs.inc();
    context.counters.activated.inc();
    let began = Instant::now();
    if delivery.job.is_expired(SystemTime::now()) {
        let job = delivery.job.id.clone();
        settled(
            &job,
            give_up(&context.host, &context.worker, delivery, DeathReason::Expired, EXPIRED.to_owned()).await,
        );
        return AttemptOutcome::Failed(EXPIRED.to_owned());
    }
    let done = tokio::time::timeout(context.spec.timeout, handler).await;
    context.counters.seconds.observe(began.elapsed().as_secs_f64());
    let error = match done {
        Ok(Ok(())) => {
            settled(&delivery.job.id.clone(), delivery.ack().await);
            return AttemptOutcome::Done;
        }
        Ok(Err(error)) => error,
        Err(_) => {
            context.counters.overrun.inc();
            overran(context.spec.timeout)
        }
    };
    if error.panicked {
        // Before it is settled, which may take a while: until then others would be begun.
        context.panic_signal.notify(&error.message);
    }
    let message = error.message.clone();
    let job = delivery.job.id.clone();
    settled(&job, fail(&context, delivery, error).await);
    AttemptOutcome::Failed(message)
}

fn overran(limit: Duration) -> HandlerError {
    let limit = humantime::format_duration(limit);
    HandlerError {
        message: format!("the handler did not finish within {limit} (`timeout`)"),
        retry: Retry::Later,
        panicked: false,
    }
}

async fn fail(context: &WorkerContext, delivery: Delivery, error: HandlerError) -> Result<(), BusError> {
    let (job, policy) = (&delivery.job, &context.spec.retry);
    let HandlerError { message, retry, .. } = error;
    let wait = policy.wait_after(job.attempt);
    let too_late = job.is_expired(SystemTime::now() + wait);
    if retry == Retry::Later && job.attempt < policy.max_attempts && !too_late {
        context.counters.retried.inc();
        tracing::warn!(target: "mshost::worker", worker = %context.worker.id, job = %job.id, attempt = job.attempt,
            "job failed, again in {}: {message}", humantime::format_duration(Duration::from_millis(wait.as_millis() as u64)));
        return delivery.retry(wait).await;
    }
    let (reason, message) = match retry {
        Retry::Never => (DeathReason::Failed, message),
        Retry::Later if job.attempt < policy.max_attempts => (DeathReason::Expired, format!("{EXPIRED}: {message}")),
        Retry::Later => {
            context.counters.given_up.inc();
            (DeathReason::Failed, format!("{TOO_MANY}: {message} ({} attempts)", job.attempt))
        }
    };
    give_up(&context.host, &context.worker, delivery, reason, message).await
}

/// Reports a job to those who wait for it, and keeps it as a dead letter.
pub(super) async fn give_up(
    host: &HostContext,
    worker: &WorkerRef,
    delivery: Delivery,
    reason: DeathReason,
    message: String,
) -> Result<(), BusError> {
    let job = &delivery.job;
    tracing::warn!(target: "mshost::worker", worker = %worker.id, job = %job.id, attempt = job.attempt,
        "job failed for good: {message}");
    // Reported first: if the bus cannot take the report, the job comes again instead of failing in silence.
    for report in Failure::reports(job, &message, Some(worker)) {
        host.bus.publish(report).await?;
    }
    delivery.dead_letter(Death::now(reason, &message, Some(worker.clone()))).await?;
    let dead_letters = &host.metrics.dead_letters;
    dead_letters.with_label_values(&[&*worker.worker_type, reason.name()]).inc();
    Ok(())
}

fn settled(job: &str, result: Result<(), BusError>) {
    if let Err(error) = result {
        tracing::warn!(target: "mshost::worker", job, "could not settle the job, it will come again: {error}");
    }
}

/// What the plugin is told about a job.
pub(super) fn header(delivery: &Delivery) -> Arc<JobHeader> {
    let job = &delivery.job;
    Arc::new(JobHeader {
        id: job.id.clone(),
        correlation: job.correlation.clone(),
        route: job.route.clone(),
        sender: job.sender.clone(),
        origin: job.origin.clone(),
        attempt: job.attempt,
        deadline: job.deadline,
        redelivered: delivery.redelivered,
    })
}
