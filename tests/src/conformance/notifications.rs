//! What is told to everybody.
#![allow(clippy::missing_panics_doc, missing_docs)]

use mshost_bus::{Announcement, BusLimits, Codec, Event, Failure, Notification, Payload, PoolEntry};

use super::stage::{Stage, hear, limited};

/// The limits that these checks run with: room for few notifications.
pub fn limits() -> BusLimits {
    BusLimits { notifications: 64, ..BusLimits::default() }
}

fn every_kind(stage: &Stage) -> Vec<Notification> {
    let kind = stage.kind();
    let worker = stage.worker(&kind);
    let native = Announcement { worker: worker.clone(), host: Some("a host".into()) };
    let stranger = Announcement { worker: stage.worker(&kind), host: None };
    let failure = Failure {
        target: worker.clone(),
        error: "no worker available for WB:*".into(),
        id: stage.job_id(),
        correlation: stage.job_id(),
        reporter: Some(stage.worker(&kind)),
        payload: Some(Payload::encode(stage.codec, &["some", "data"]).unwrap()),
    };
    let bare = Failure { id: stage.job_id(), reporter: None, payload: None, ..failure.clone() };
    let mut kinds = vec![
        Notification::New { worker: native.clone(), resend: false },
        Notification::New { worker: native, resend: true },
        Notification::New { worker: stranger, resend: false },
        Notification::GetAll,
        Notification::Del(worker.clone()),
        Notification::Error(failure),
        Notification::Error(bare),
        Notification::ListRequest,
    ];
    // BSON has no arrays at the top level; where a bus has to write them, it sends none.
    if stage.codec != Codec::Bson {
        kinds.push(Notification::List(vec![PoolEntry { worker, is_next: true }]));
    }
    kinds
}

pub async fn every_kind_reaches_every_subscriber(stage: &Stage) {
    let mut subscribers = [
        stage.bus.subscribe().await.unwrap(),
        stage.bus.subscribe().await.unwrap(),
        stage.other.subscribe().await.unwrap(),
    ];
    for notification in every_kind(stage) {
        limited("publish", stage.bus.publish(notification.clone())).await.unwrap();
        for subscriber in &mut subscribers {
            hear(subscriber, |heard| (heard == notification).then_some(())).await;
        }
    }
}

pub async fn subscribers_hear_in_order(stage: &Stage) {
    let kind = stage.kind();
    let mut subscriber = stage.other.subscribe().await.unwrap();
    let workers: Vec<_> = (0..50).map(|_| stage.worker(&kind)).collect();
    for worker in &workers {
        stage.bus.publish(Notification::Del(worker.clone())).await.unwrap();
    }
    for worker in &workers {
        let heard = hear(&mut subscriber, |heard| match heard {
            Notification::Del(other) if other.worker_type == kind => Some(other),
            _ => None,
        });
        assert_eq!(&heard.await, worker);
    }
}

pub async fn a_slow_subscriber_holds_up_nobody(stage: &Stage) {
    const COUNT: u64 = 500;
    let kind = stage.kind();
    let mut slow = stage.bus.subscribe().await.unwrap();
    for _ in 0..COUNT {
        limited("publish", stage.bus.publish(Notification::Del(stage.worker(&kind)))).await.unwrap();
    }
    // All of them are accounted for: heard, or said to be missed.
    let mut accounted = 0;
    while accounted < COUNT {
        match limited("an event", slow.next()).await.unwrap() {
            Event::Notification(Notification::Del(worker)) if worker.worker_type == kind => accounted += 1,
            Event::Notification(_) | Event::Reconnected => {}
            Event::Missed(0) => return,
            Event::Missed(missed) => accounted += missed,
        }
    }
}
