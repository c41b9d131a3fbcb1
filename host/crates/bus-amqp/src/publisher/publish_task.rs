//! The task that publishes: on one channel, until that breaks, then on the next.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapin::Channel;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use tokio::sync::mpsc;
use tracing::warn;

use super::confirm_tracker::{ConfirmTracker, PublishOutcome};
use super::publish_request::{PublishAnswer, PublishRequest, PublishRequests};
use crate::amqp_error;
use crate::broker_objects::queues;
use crate::link::connection::BrokerLink;
use crate::link::connectivity::Connectivity;

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(50);
/// How many messages are taken over from senders at once.
const BATCH: usize = 64;
/// Wait before a channel is opened again that broke on a connection that did not.
const REOPEN_WAIT: Duration = Duration::from_millis(100);
/// How long closing waits for the confirms of what is under way.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// Publishes until the bus is closed.
pub(crate) async fn run(connectivity: Arc<Connectivity>, requests: PublishRequests) {
    let _ended = requests.ended.drop_guard();
    let mut task =
        PublishTask { requests: requests.receiver, waiting: VecDeque::new(), unconfirmed: ConfirmTracker::new() };
    loop {
        let Some(link) = task.wait_for_link(&connectivity).await else { break };
        let result = match link.answer("open a channel for publishing", open(&link)).await {
            Ok(channel) => {
                connectivity.note_publish_channel(None);
                task.serve(&connectivity, &link, &channel).await
            }
            Err(error) => {
                connectivity.note_publish_channel(Some(&error));
                Err(error)
            }
        };
        match result {
            Ok(PublishEnd::Closed) => break,
            Ok(PublishEnd::NewLink) => {}
            // An exchange was deleted, and with it the bindings of every queue. Connecting again makes them all anew.
            Err(error) if amqp_error::code(&error) == Some(amqp_error::NOT_FOUND) => {
                warn!(target: "mshost::bus", "{}; declaring everything again", amqp_error::text(&error));
                link.close().await;
                connectivity.trouble.notify_one();
            }
            Err(error) => {
                connectivity.trouble.notify_one();
                if link.is_up() {
                    warn!(target: "mshost::bus", "the channel for publishing broke: {}; opening another", amqp_error::text(&error));
                    tokio::time::sleep(REOPEN_WAIT).await;
                }
            }
        }
        task.resend_unconfirmed();
    }
    task.close_all();
}

async fn open(link: &BrokerLink) -> lapin::Result<Channel> {
    let channel = link.publish.create_channel().await?;
    queues::declare_exchanges(&channel).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

/// Why [`PublishTask::serve`] ended, where nothing broke.
enum PublishEnd {
    Closed,
    NewLink,
}

struct PublishTask {
    requests: mpsc::Receiver<PublishRequest>,
    /// Not published, or to be published again. At most as many as the window has places.
    waiting: VecDeque<PublishRequest>,
    unconfirmed: ConfirmTracker<PublishRequest>,
}

impl PublishTask {
    /// Waits until the bus can be used, and meanwhile for the deadlines of those who wait for that.
    async fn wait_for_link(&mut self, connectivity: &Connectivity) -> Option<BrokerLink> {
        let mut ready = connectivity.ready.subscribe();
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                biased;
                () = connectivity.closed.cancelled() => return None,
                link = ready.wait_for(Option::is_some) => return link.ok()?.clone(),
                request = self.requests.recv() => self.waiting.push_back(request?),
                _ = tick.tick() => self.expire(),
            }
        }
    }

    async fn serve(
        &mut self,
        connectivity: &Connectivity,
        link: &BrokerLink,
        channel: &Channel,
    ) -> lapin::Result<PublishEnd> {
        let mut ready = connectivity.ready.subscribe();
        let mut blocked = connectivity.blocked.subscribe();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        let mut settled = Vec::new();
        loop {
            if !*blocked.borrow_and_update() {
                while let Some(request) = self.waiting.pop_front() {
                    self.start(channel, request);
                }
            }
            let idle = self.unconfirmed.is_empty() && self.waiting.is_empty();
            tokio::select! {
                biased;
                () = connectivity.closed.cancelled() => {
                    let _ = tokio::time::timeout(CLOSE_WAIT, self.finish()).await;
                    return Ok(PublishEnd::Closed);
                }
                result = poll_fn(|cx| self.unconfirmed.poll_settled(cx, &mut settled)) => {
                    answer(&mut settled);
                    result?;
                }
                taken = self.requests.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        return Ok(PublishEnd::Closed);
                    }
                    self.waiting.extend(batch.drain(..));
                }
                changed = ready.changed() => {
                    let same = ready.borrow().as_ref().is_some_and(|new| new.epoch == link.epoch);
                    if changed.is_err() || !same {
                        return Ok(PublishEnd::NewLink);
                    }
                }
                _ = blocked.changed() => {}
                _ = tick.tick(), if !idle => self.expire(),
            }
        }
    }

    fn start(&mut self, channel: &Channel, request: PublishRequest) {
        if request.is_abandoned() {
            return;
        }
        let message = Arc::clone(&request.message);
        let id = message.id();
        let properties = if request.resent { message.resent_properties() } else { message.properties.clone() };
        let channel = channel.clone();
        let publishing = Box::pin(async move {
            let options = BasicPublishOptions { mandatory: message.mandatory, ..BasicPublishOptions::default() };
            let (exchange, key) = (message.exchange.clone(), message.key.clone());
            channel.basic_publish(exchange, key, options, &message.body, properties).await?.await
        });
        self.unconfirmed.push(request, id, publishing);
    }

    /// Tells those whose time is over. What is under way keeps its place: the broker may still take it.
    fn expire(&mut self) {
        let now = Instant::now();
        let late = |request: &PublishRequest| request.deadline <= now && request.reply.is_some();
        for request in self.unconfirmed.items_mut().filter(|request| late(request)) {
            request.answer(PublishAnswer::Expired);
        }
        for request in self.waiting.iter_mut().filter(|request| late(request)) {
            request.answer(PublishAnswer::Expired);
        }
        self.waiting.retain(|request| !request.is_abandoned());
    }

    /// After a channel broke: what is not known to have arrived goes before what has never been sent.
    fn resend_unconfirmed(&mut self) {
        let (returned, unknown) = std::mem::replace(&mut self.unconfirmed, ConfirmTracker::new()).abandon();
        for mut request in returned {
            request.answer_returned();
        }
        for mut request in unknown.into_iter().rev() {
            request.resent = true;
            self.waiting.push_front(request);
        }
    }

    /// Waits for everything that is under way.
    async fn finish(&mut self) -> lapin::Result<()> {
        let mut settled = Vec::new();
        while !self.unconfirmed.is_empty() {
            let result = poll_fn(|cx| self.unconfirmed.poll_settled(cx, &mut settled)).await;
            answer(&mut settled);
            result?;
        }
        Ok(())
    }

    fn close_all(&mut self) {
        self.resend_unconfirmed();
        self.requests.close();
        while let Ok(request) = self.requests.try_recv() {
            self.waiting.push_back(request);
        }
        for mut request in self.waiting.drain(..) {
            request.answer(PublishAnswer::Closed);
        }
    }
}

/// Tells senders.
fn answer(settled: &mut Vec<(PublishRequest, PublishOutcome)>) {
    for (mut request, outcome) in settled.drain(..) {
        match outcome {
            PublishOutcome::Confirmed => request.answer(PublishAnswer::Confirmed),
            PublishOutcome::Returned => request.answer_returned(),
            PublishOutcome::Refused => request.answer(PublishAnswer::Refused),
        }
    }
}
