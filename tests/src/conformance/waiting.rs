//! `absent = "wait"`: jobs wait for a type whose workers are away.
#![allow(clippy::missing_panics_doc, missing_docs)]

use mshost_bus::{Absent, BusLimits};

use super::Settings;
use super::stage::{Stage, assert_no_worker, eventually, limited, next, next_number};

/// The settings that these checks run with.
pub fn limits() -> Settings {
    Settings { limits: BusLimits::default(), absent: Absent::Wait }
}

pub async fn a_job_waits_for_the_next_worker_of_its_type(stage: &Stage) {
    let kind = stage.kind();
    let (_, mut first) = stage.join(&kind, 1).await;
    stage.send(stage.numbered(&kind, 0)).await;
    assert_eq!(next_number(&mut first).await, 0);
    first.stop().await;
    drop(first);
    stage.send_numbers(&kind, 1..4).await;
    let (_, mut second) = stage.join_at(&*stage.other, &kind, 1).await;
    for expected in 1..4 {
        let delivery = next(&mut second).await;
        assert_eq!((super::stage::number(&delivery.job), delivery.redelivered), (expected, false));
        delivery.ack().await.unwrap();
    }
}

pub async fn a_type_that_nobody_has_heard_of_is_refused(stage: &Stage) {
    let job = stage.numbered(&stage.kind(), 1);
    assert_no_worker(&limited("send", stage.bus.send(job.clone())).await, &job);
}

pub async fn a_job_for_one_worker_does_not_wait_for_another(stage: &Stage) {
    let kind = stage.kind();
    let (worker, mut first) = stage.join(&kind, 1).await;
    first.stop().await;
    drop(first);
    eventually("a refusal", async || {
        let job = stage.job(&[&*worker.id], &1);
        match limited("send", stage.bus.send(job.clone())).await {
            Ok(()) => Err("accepted".to_owned()),
            refused => {
                assert_no_worker(&refused, &job);
                Ok(())
            }
        }
    })
    .await;
}
