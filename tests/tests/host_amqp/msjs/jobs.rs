//! Jobs between the two kinds of workers, in both directions and along pipelines of both.

use std::time::Duration;

use mshost_tests::peer::Peer;
use serde_json::{Value, json};

use super::bare_worker::BareWorker;
use super::support::{host, in_each_codec, interop_jobs, own, until_known, until_metric};

/// What a worker of the fixture forwards as it came.
fn forward() -> Value {
    json!({ "do": "forward" })
}

#[test]
fn our_job_for_any_worker_of_theirs_comes_back_by_id() {
    in_each_codec("out", |url, codec| {
        let host = host(url, codec);
        let bare_worker = BareWorker::join(url, codec);
        let worker = Peer::worker(url, codec, "PB").to(&["$sender"]).start();
        let data =
            json!({ "time": 1_460_306_476_102_i64, "half": 1.5, "text": "é", "list": [1, null, { "deep": true }] });
        let mut by_id = data.clone();
        // The answers differ, as they may have one id.
        by_id["direct"] = json!(true);
        bare_worker.send_once_possible(&["PB:*"], &data);
        bare_worker.send_once_possible(&[worker.id()], &by_id);
        for job in bare_worker.until_jobs(2) {
            // As a double where JavaScript's BSON makes one of it.
            let came: Value = job.payload.decode().unwrap();
            assert_eq!(came["time"].as_f64(), data["time"].as_f64(), "{codec}");
            let mut wanted = if came["direct"] == true { by_id.clone() } else { data.clone() };
            wanted["trace"] = json!([worker.id()]);
            wanted["time"] = came["time"].clone();
            assert_eq!(came, wanted, "{codec}");
            assert_eq!(&*job.sender.id, worker.id(), "{codec}");
        }
        let took = worker.until("took", 2);
        assert_eq!(took.iter().filter(|job| job["byId"] == true).count(), 1, "{took:?}");
        assert!(took.iter().all(|job| job["job"]["sender"]["id"] == bare_worker.id()), "{took:?}");
        // Its acks and ours.
        until_metric(&host, &interop_jobs("out", "taken"), 2);
        until_metric(&host, &interop_jobs("in", "taken"), 2);
        until_metric(&host, r#"microservices_messages_received_total{service="worker-NT",type="job_ack"}"#, 2);
        assert!(worker.until("ack", 1).iter().all(|ack| ack["job"]["ignoreUpdate"] == true));
    });
}

#[test]
fn their_job_for_any_worker_of_ours_is_acked_and_done_once() {
    in_each_codec("in", |url, codec| {
        let host = host(url, codec);
        let sender = Peer::sender(url, codec, "PA").start();
        until_known(&host, "PA", 1);
        sender.send(&["EC:*"], &json!({ "do": "ok" }));
        sender.send(&[&own(&host)[0]], &json!({ "do": "ok" }));
        let acks = sender.until("ack", 2);
        assert_eq!(acks.iter().filter(|ack| ack["job"]["ignoreUpdate"] == true).count(), 1, "{acks:?}");
        assert!(acks.iter().all(|ack| ack["job"]["data"] == json!({ "do": "ok" })), "{acks:?}");
        until_metric(&host, r#"microservices_messages_received_total{service="worker-EC",type="job_request"}"#, 2);
        until_metric(&host, &interop_jobs("in", "taken"), 2);
        assert!(sender.events("error").is_empty());
        assert!(sender.stop().success());
    });
}

#[test]
fn jobs_of_one_millisecond_have_one_id_and_are_all_done() {
    in_each_codec("one-id", |url, codec| {
        let host = host(url, codec);
        let sender = Peer::sender(url, codec, "PA").start();
        until_known(&host, "PA", 1);
        sender.send_many(&["EC:*"], &json!({ "do": "ok" }), 100, Duration::ZERO);
        let sent = sender.until("sent", 100);
        let ids: std::collections::BTreeSet<_> = sent.iter().map(|job| job["id"].to_string()).collect();
        assert!(ids.len() < 100, "the original's ids are to collide");
        until_metric(&host, r#"microservices_messages_received_total{service="worker-EC",type="job_request"}"#, 100);
        until_metric(&host, &interop_jobs("in", "taken"), 100);
    });
}

#[test]
fn a_pipeline_alternates_between_theirs_and_ours() {
    in_each_codec("alternating", |url, codec| {
        let host = host(url, codec);
        let theirs = Peer::worker(url, codec, "PB").echo().start();
        let sender = Peer::sender(url, codec, "PA").start();
        until_known(&host, "PB", 1);
        until_known(&host, "PA", 1);
        let ours = own(&host);
        let pipelines: [&[&str]; 3] = [
            &["EC:*", "PB:*", "EC:*", sender.id()],
            &["PB:*", &ours[0], theirs.id(), &ours[1], sender.id()],
            &["EC:*", "EC:*", theirs.id(), "PB:*", sender.id()],
        ];
        for (number, pipeline) in pipelines.into_iter().enumerate() {
            sender.send(pipeline, &forward());
            let result = &sender.until("result", number + 1)[number];
            assert_eq!(result["data"], forward(), "{codec} {pipeline:?}");
            assert_eq!(result["job"]["workers_list"], json!(pipeline), "{codec}");
            assert_eq!(result["job"]["workers_list_id"], pipeline.len() - 1, "{codec}");
        }
        assert!(sender.events("error").is_empty());
    });
}

#[test]
fn a_pipeline_that_one_of_ours_begins_alternates() {
    in_each_codec("alternating-ours", |url, codec| {
        let host = host(url, codec);
        let theirs = Peer::worker(url, codec, "PB").echo().start();
        let bare_worker = BareWorker::join(url, codec);
        bare_worker.send_once_possible(&["PB:*", "EC:*", theirs.id(), bare_worker.id()], &forward());
        let job = &bare_worker.until_jobs(1)[0];
        assert_eq!(job.payload.decode::<Value>().unwrap(), forward(), "{codec}");
        assert_eq!((job.route.position(), &*job.sender.id), (3, theirs.id()), "{codec}");
        until_metric(&host, &interop_jobs("out", "unanswered"), 0);
    });
}
