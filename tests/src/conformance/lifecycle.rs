//! Opening, looking at and closing a bus.
#![allow(clippy::missing_panics_doc, missing_docs)]

use std::sync::Arc;

use mshost_bus::{BusError, BusLimits, BusState, ConsumerOptions, Notification, SendError, type_queue};

use super::host_pair::{HostPair, eventually, limited, next};

/// The limits that these checks run with.
pub fn limits() -> BusLimits {
    BusLimits { queue: 2, ..BusLimits::default() }
}

pub async fn an_open_bus_says_so(pair: &HostPair) {
    let mut state = pair.bus.state();
    limited("connecting", state.wait_for(|state| *state == BusState::Connected)).await.unwrap();
    assert_eq!(pair.bus.codec(), pair.codec);
}

pub async fn depths_are_told(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut consumer) = pair.join(&kind, 1).await;
    pair.send_numbers(&kind, 0..3).await;
    let held = next(&mut consumer).await;
    let see = async |ready, unsettled| {
        eventually("the depth of the type's queue", async || {
            let depths = pair.bus.depths().await;
            let depth = depths.into_iter().find(|depth| depth.queue == type_queue(&kind));
            match depth {
                Some(depth) if (depth.ready, depth.unsettled, depth.consumers) == (ready, unsettled, 1) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    };
    see(2, 1).await;
    held.ack().await.unwrap();
    see(1, 1).await;
    next(&mut consumer).await.ack().await.unwrap();
    next(&mut consumer).await.ack().await.unwrap();
    see(0, 0).await;
    // Whoever waits for a job has none.
    tokio::select! {
        biased;
        _ = consumer.next() => panic!("nobody has sent anything"),
        () = see(0, 0) => {}
    }
}

pub async fn closing_ends_everything_and_can_be_repeated(pair: &HostPair) {
    let kind = pair.kind();
    let (worker, mut consumer) = pair.join(&kind, 1).await;
    let mut subscription = pair.bus.subscribe().await.unwrap();
    let mut state = pair.bus.state();
    limited("close", pair.bus.close()).await;
    limited("close", pair.bus.close()).await;
    limited("the state", state.wait_for(|state| *state == BusState::Closed)).await.unwrap();
    assert!(limited("next", consumer.next()).await.is_none());
    limited("the end of notifications", async { while subscription.next().await.is_some() {} }).await;
    let sent = limited("send", pair.bus.send(pair.numbered(&kind, 1))).await;
    assert!(matches!(sent, Err(SendError::Unavailable(_))), "{sent:?}");
    let joined = limited("join", pair.bus.join(&worker, ConsumerOptions::new(1))).await;
    assert!(matches!(joined, Err(BusError::Closed)));
    let published = limited("publish", pair.bus.publish(Notification::GetAll)).await;
    assert!(matches!(published, Err(BusError::Closed)), "{published:?}");
    assert!(matches!(limited("subscribe", pair.bus.subscribe()).await, Err(BusError::Closed)));
    limited("stop", consumer.stop()).await;
    drop(consumer);
}

pub async fn closing_wakes_those_who_wait(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut idle) = pair.join(&pair.kind(), 1).await;
    let (_, mut busy) = pair.join(&kind, 1).await;
    let mut subscription = pair.bus.subscribe().await.unwrap();
    pair.send_numbers(&kind, 0..3).await;
    let held = next(&mut busy).await;
    let (bus, job) = (Arc::clone(&pair.bus), pair.numbered(&kind, 3));
    let sender = tokio::spawn(async move { bus.send(job).await });
    let next = tokio::spawn(async move { idle.next().await.is_none() });
    let heard = tokio::spawn(async move { while subscription.next().await.is_some() {} });
    limited("close", pair.bus.close()).await;
    // Whether the sender got in line before or came too late: it does not wait on.
    let _ = limited("the sender", sender).await.unwrap();
    assert!(limited("the idle worker", next).await.unwrap());
    limited("the subscriber", heard).await.unwrap();
    drop(held);
}
