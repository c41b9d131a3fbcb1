//! The codecs against the bytes of MicroServices.js, against what it may send, and against noise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod golden;
mod property;
mod tolerance;

use mshost_core::ids::{JobId, WorkerId, WorkerRef};
use mshost_plugin_api::{Codec, Payload, Route};
use serde::Serialize;

use crate::Job;

fn worker(id: &str) -> WorkerRef {
    WorkerId::new(id).unwrap().into()
}

fn job_id(id: &str) -> JobId {
    JobId::new(id).unwrap()
}

fn job(payload: Payload) -> Job {
    Job {
        id: job_id("J1460306476104"),
        correlation: job_id("J1460306476101"),
        route: Route::parse(["WB:*", "WA:1460306476102"]).unwrap().next().unwrap(),
        sender: worker("WD:1460306476103"),
        origin: worker("WA:1460306476102"),
        attempt: 1,
        deadline: None,
        payload,
    }
}

/// Any value in any codec, at the top level.
fn bytes(codec: Codec, value: &impl Serialize) -> bytes::Bytes {
    super::write::serialize(codec, value).unwrap().into()
}
