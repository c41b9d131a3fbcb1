//! What we write is, byte for byte, what JavaScript writes.

use bytes::Bytes;
use mshost_plugin_api::{Codec, Payload};

use super::super::*;
use super::{job, job_id, worker};
use crate::wire_job::WireJob;
use crate::{Announcement, Failure, Notification, PoolEntry};

fn golden(name: &str, codec: Codec) -> Bytes {
    let wanted = format!("{name} {codec} ");
    let hex = include_str!("golden.txt").lines().find_map(|line| line.strip_prefix(&wanted));
    let hex = hex.unwrap_or_else(|| panic!("golden.txt has no {wanted}"));
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn data(name: &str, codec: Codec) -> Payload {
    Payload::from_bytes(codec, golden(name, codec))
}

#[test]
fn jobs_are_written_and_read_as_javascript_does() {
    for codec in Codec::ALL {
        let job = job(data("data", codec));
        assert_eq!(encode_job(&job).unwrap(), golden("job", codec), "{codec}");
        let read = decode_job(codec, &golden("job", codec)).unwrap();
        assert_eq!(read, WireJob { id: job.id, route: job.route, sender: job.sender, payload: job.payload }, "{codec}");
    }
}

#[test]
fn payloads_are_not_copied() {
    for codec in [Codec::Json, Codec::MsgPack] {
        let body = golden("job", codec);
        let read = decode_job(codec, &body).unwrap();
        assert!(body.as_ptr_range().contains(&read.payload.bytes().as_ptr()), "{codec}");
    }
}

fn notifications(codec: Codec) -> Vec<(&'static str, &'static str, Notification)> {
    let plain = Announcement { worker: worker("WB:1460306476102"), host: None };
    let native = Announcement { host: Some("h1".into()), ..plain.clone() };
    let pool = [("WB:1460306476102", true), ("WB:1460306476103", false)]
        .map(|(id, is_next)| PoolEntry { worker: worker(id), is_next });
    let error = Failure {
        target: worker("WA:1460306476102"),
        error: "No worker available for this job".into(),
        id: job_id("J1460306476104"),
        correlation: job_id("J1460306476101"),
        reporter: None,
        payload: Some(data("error_data", codec)),
    };
    let reported = Failure {
        error: "disk full".into(),
        id: job_id("J2"),
        correlation: job_id("J1"),
        reporter: Some(worker("WB:1460306476102")),
        payload: None,
        ..error.clone()
    };
    vec![
        ("announce", "worker.new.send", Notification::New { worker: plain.clone(), resend: false }),
        ("announce", "worker.new.resend", Notification::New { worker: plain, resend: true }),
        ("announce_native", "worker.new.send", Notification::New { worker: native, resend: false }),
        ("farewell", "worker.del", Notification::Del(worker("WB:1460306476102"))),
        ("list", "worker.list", Notification::List(pool.into())),
        ("error", "error", Notification::Error(error)),
        ("error_reported", "error", Notification::Error(reported)),
    ]
}

#[test]
fn notifications_are_written_and_read_as_javascript_does() {
    for codec in Codec::ALL {
        for (name, key, notification) in notifications(codec) {
            let message = encode_notification(codec, &notification).unwrap();
            if (name, codec) == ("list", Codec::Bson) {
                assert_eq!(message, None);
                continue;
            }
            let expected = Message { exchange: "notifications", routing_key: key, body: golden(name, codec) };
            assert_eq!(message, Some(expected.clone()), "{name} {codec}");
            let read = decode_notification(codec, "notifications", key, &expected.body).unwrap();
            assert_eq!(read, notification, "{name} {codec}");
        }
    }
}

#[test]
fn texts_are_not_encoded() {
    for codec in Codec::ALL {
        let get_all = encode_notification(codec, &Notification::GetAll).unwrap().unwrap();
        assert_eq!((get_all.exchange, get_all.routing_key), ("notifications", "worker.getAll"));
        assert_eq!(get_all.body, "Hi workers, tell me who's online");
        let list = encode_notification(codec, &Notification::ListRequest).unwrap().unwrap();
        assert_eq!((list.exchange, list.routing_key), ("polling", "worker.list"));
        for body in ["", "anything", "\u{0}{"].map(Bytes::from) {
            let read = |exchange, key| decode_notification(codec, exchange, key, &body).unwrap();
            assert_eq!(read("notifications", "worker.getAll"), Notification::GetAll);
            assert_eq!(read("polling", "worker.list"), Notification::ListRequest);
        }
    }
}
