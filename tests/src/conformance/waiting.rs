//! `absent = "wait"`: jobs wait for a type whose workers are away.
#![allow(clippy::missing_panics_doc, missing_docs)]

use mshost_bus::{Absent, BusLimits};

use super::BusSettings;
use super::host_pair::{HostPair, assert_no_worker, eventually, limited, next, next_number};

/// The settings that these checks run with.
pub fn limits() -> BusSettings {
    BusSettings { limits: BusLimits::default(), absent: Absent::Wait }
}

pub async fn a_job_waits_for_the_next_worker_of_its_type(pair: &HostPair) {
    let kind = pair.kind();
    let (_, mut first) = pair.join(&kind, 1).await;
    pair.send(pair.numbered(&kind, 0)).await;
    assert_eq!(next_number(&mut first).await, 0);
    first.stop().await;
    drop(first);
    pair.send_numbers(&kind, 1..4).await;
    let (_, mut second) = pair.join_at(&*pair.other, &kind, 1).await;
    for expected in 1..4 {
        let delivery = next(&mut second).await;
        assert_eq!((super::host_pair::number(&delivery.job), delivery.redelivered), (expected, false));
        delivery.ack().await.unwrap();
    }
}

pub async fn a_type_that_nobody_has_heard_of_is_refused(pair: &HostPair) {
    let job = pair.numbered(&pair.kind(), 1);
    assert_no_worker(&limited("send", pair.bus.send(job.clone())).await, &job);
}

pub async fn a_job_for_one_worker_does_not_wait_for_another(pair: &HostPair) {
    let kind = pair.kind();
    let (worker, mut first) = pair.join(&kind, 1).await;
    first.stop().await;
    drop(first);
    eventually("a refusal", async || {
        let job = pair.job(&[&*worker.id], &1);
        match limited("send", pair.bus.send(job.clone())).await {
            Ok(()) => Err("accepted".to_owned()),
            refused => {
                assert_no_worker(&refused, &job);
                Ok(())
            }
        }
    })
    .await;
}
