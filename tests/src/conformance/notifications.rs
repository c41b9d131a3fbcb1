//! What is told to everybody.
#![allow(clippy::missing_panics_doc, missing_docs)]

use mshost_bus::{Announcement, BusLimits, Codec, Event, Failure, Notification, Payload, PoolEntry};

use super::host_pair::{HostPair, hear, limited};

/// The limits that these checks run with: room for few notifications.
pub fn limits() -> BusLimits {
    BusLimits { notifications: 64, ..BusLimits::default() }
}

fn every_kind(pair: &HostPair) -> Vec<Notification> {
    let kind = pair.kind();
    let worker = pair.worker(&kind);
    let native = Announcement { worker: worker.clone(), host: Some("a host".into()) };
    let stranger = Announcement { worker: pair.worker(&kind), host: None };
    let failure = Failure {
        target: worker.clone(),
        error: "no worker available for WB:*".into(),
        id: pair.job_id(),
        correlation: pair.job_id(),
        reporter: Some(pair.worker(&kind)),
        payload: Some(Payload::encode(pair.codec, &["some", "data"]).unwrap()),
    };
    let bare = Failure { id: pair.job_id(), reporter: None, payload: None, ..failure.clone() };
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
    if pair.codec != Codec::Bson {
        kinds.push(Notification::List(vec![PoolEntry { worker, is_next: true }]));
    }
    kinds
}

pub async fn every_kind_reaches_every_subscriber(pair: &HostPair) {
    let mut subscribers = [
        pair.bus.subscribe().await.unwrap(),
        pair.bus.subscribe().await.unwrap(),
        pair.other.subscribe().await.unwrap(),
    ];
    for notification in every_kind(pair) {
        limited("publish", pair.bus.publish(notification.clone())).await.unwrap();
        for subscriber in &mut subscribers {
            hear(subscriber, |heard| (heard == notification).then_some(())).await;
        }
    }
}

pub async fn subscribers_hear_in_order(pair: &HostPair) {
    let kind = pair.kind();
    let mut subscriber = pair.other.subscribe().await.unwrap();
    let workers: Vec<_> = (0..50).map(|_| pair.worker(&kind)).collect();
    for worker in &workers {
        pair.bus.publish(Notification::Del(worker.clone())).await.unwrap();
    }
    for worker in &workers {
        let heard = hear(&mut subscriber, |heard| match heard {
            Notification::Del(other) if other.worker_type == kind => Some(other),
            _ => None,
        });
        assert_eq!(&heard.await, worker);
    }
}

pub async fn a_slow_subscriber_holds_up_nobody(pair: &HostPair) {
    const COUNT: u64 = 500;
    let kind = pair.kind();
    let mut slow = pair.bus.subscribe().await.unwrap();
    for _ in 0..COUNT {
        limited("publish", pair.bus.publish(Notification::Del(pair.worker(&kind)))).await.unwrap();
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
