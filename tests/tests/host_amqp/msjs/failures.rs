//! What becomes of jobs that nobody does, or cannot: whoever sent them hears of it, of whichever kind.

use std::time::{Duration, SystemTime};

use mshost_bus::{Codec, DeathReason};
use mshost_tests::host_process::LIMIT;
use mshost_tests::peer::Peer;
use mshost_tests::wait::until;
use serde_json::json;

use super::bare_worker::BareWorker;
use super::support::{bus, host, in_each_codec, interop_jobs, metric, own, until_known, until_metric};

#[test]
fn a_job_that_nobody_of_theirs_acks_is_sent_five_times_and_reported() {
    in_each_codec("unacked", |url, codec| {
        let host = host(url, codec);
        let silent = Peer::worker(url, codec, "PB").silent().echo().start();
        let bare_worker = BareWorker::join(url, codec);
        let by_type = bare_worker.send_once_possible(&["PB:*"], &json!(7));
        let by_id = bare_worker.send_once_possible(&[silent.id()], &json!(8));
        for (id, target) in [(&by_type, "PB:*"), (&by_id, silent.id())] {
            let failure = bare_worker.until_error(id);
            assert!(failure.error.starts_with(&format!("no worker available for {target}: ")), "{}", failure.error);
            assert!(failure.error.ends_with("within 10s"), "{}", failure.error);
        }
        assert_eq!(silent.events("took").len(), 10, "5 sends each");
        for id in [&by_type, &by_id] {
            let letter =
                until("a dead letter", LIMIT, || bare_worker.dead_letters().into_iter().find(|dead| dead.id == **id));
            assert_eq!(letter.death.reason, DeathReason::NoWorker, "{codec}");
            assert_eq!(
                letter.death.worker.map(|worker| worker.id.to_string()).as_deref(),
                Some(silent.id()),
                "{codec}"
            );
        }
        until_metric(&host, &interop_jobs("out", "unanswered"), 2);
        assert_eq!(metric(&host, &interop_jobs("out", "resent")), 8);
        assert_eq!(metric(&host, &interop_jobs("out", "taken")), 0);
    });
}

#[test]
fn a_job_whose_deadline_passes_before_they_take_it_is_reported_and_not_sent_again() {
    in_each_codec("late", |url, codec| {
        let host = host(url, codec);
        let silent = Peer::worker(url, codec, "PB").silent().echo().start();
        let bare_worker = BareWorker::join(url, codec);
        bare_worker.send_once_possible(&["PB:*"], &json!(7));
        let deadline = SystemTime::now() + Duration::from_secs(3);
        let late = bare_worker.send_before(Some(deadline), &[silent.id()], &json!(8)).unwrap();
        let failure = bare_worker.until_error(&late);
        assert!(failure.error.contains("deadline") && SystemTime::now() > deadline, "{}", failure.error);
        let letter =
            until("a dead letter", LIMIT, || bare_worker.dead_letters().into_iter().find(|dead| dead.id == *late));
        assert_eq!(letter.death.reason, DeathReason::Expired, "{codec}");
        until_metric(&host, &interop_jobs("out", "expired"), 1);
        // The other one, which has no deadline, is sent until the end.
        until_metric(&host, &interop_jobs("out", "unanswered"), 1);
        let sent = silent.events("took").iter().filter(|took| took["job"]["data"] == 8).count();
        assert!((1..=2).contains(&sent), "{codec}: sent {sent} times in 3 s");
    });
}

#[test]
fn the_plugin_that_sent_it_hears_of_it() {
    let url = bus("on-error", Codec::MsgPack);
    let host = host(&url, Codec::MsgPack);
    let silent = Peer::worker(&url, Codec::MsgPack, "PB").silent().start();
    let bare_worker = BareWorker::join(&url, Codec::MsgPack);
    until_known(&host, "PB", 1);
    bare_worker.send_once_possible(&["EC:*"], &json!({ "do": "send", "to": [silent.id()] }));
    host.until_log(&["heard: no worker available for", silent.id(), "within 10s"]);
}

#[test]
fn a_job_whose_worker_dies_before_it_acks_waits_for_the_next_of_the_type() {
    in_each_codec("died-unacked", |url, codec| {
        let host = host(url, codec);
        let silent = Peer::worker(url, codec, "PB").silent().start();
        let bare_worker = BareWorker::join(url, codec);
        bare_worker.send_once_possible(&["PB:*"], &json!({ "number": 7 }));
        let by_id = bare_worker.send_once_possible(&[silent.id()], &json!(8));
        silent.until("took", 2);
        silent.kill();
        until_known(&host, "PB", 0);
        let failure = bare_worker.until_error(&by_id);
        assert!(failure.error.starts_with("no worker available for PB:"), "{}", failure.error);
        let next = Peer::worker(url, codec, "PB").to(&["$sender"]).start();
        let job = &bare_worker.until_jobs(1)[0];
        assert_eq!(&*job.sender.id, next.id(), "{codec}");
        assert_eq!(job.payload.decode::<serde_json::Value>().unwrap()["number"], 7, "{codec}");
    });
}

#[test]
fn their_sender_hears_at_once_that_nobody_can_do_its_job() {
    in_each_codec("refused", |url, codec| {
        let host = host(url, codec);
        let sender = Peer::sender(url, codec, "PA").start();
        until_known(&host, "PA", 1);
        sender.send(&["XX:*"], &json!({ "number": 7 }));
        let error = &sender.until("error", 1)[0];
        assert_eq!(error["error"], "No worker available for this job", "{codec}");
        assert_eq!((&error["data"]["number"], &error["id"]), (&json!(7), &sender.events("sent")[0]["id"]), "{codec}");
        // At the first send, or at the second where the host does not know yet who is there.
        assert!(sender.events("sent").len() <= 2, "{:?}", sender.events("sent"));
        until_metric(&host, &interop_jobs("in", "refused"), 1);
    });
}

#[test]
fn their_sender_recognises_the_failure_of_a_job_that_ours_took() {
    in_each_codec("failed", |url, codec| {
        let host = host(url, codec);
        let sender = Peer::sender(url, codec, "PA").start();
        until_known(&host, "PA", 1);
        sender.send(&["EC:*"], &json!({ "do": "fail_for_good" }));
        let error = &sender.until("error", 1)[0];
        assert!(error["error"].as_str().unwrap().contains("told to fail for good"), "{codec} {error}");
        assert_eq!(error["data"], json!({ "do": "fail_for_good" }), "{codec}");
        let id = sender.events("sent")[0]["id"].as_str().unwrap().to_owned();
        assert!(error["id"].as_str().unwrap().starts_with(&id), "{codec} {error}");
        assert_eq!(sender.until("ack", 1).len(), 1, "it was taken");
    });
}

#[test]
fn a_pipeline_that_ours_would_go_on_with_beyond_its_end_is_reported_to_the_last_of_theirs() {
    in_each_codec("beyond", |url, codec| {
        let host = host(url, codec);
        let theirs = Peer::worker(url, codec, "PB").echo().start();
        let sender = Peer::sender(url, codec, "PA").start();
        until_known(&host, "PB", 1);
        sender.send(&["PB:*", "EC:*"], &json!({ "do": "forward" }));
        let error = &theirs.until("error", 1)[0];
        assert!(error["error"].as_str().unwrap().contains("the pipeline ends here"), "{codec} {error}");
    });
}

#[test]
fn a_type_that_both_serve_is_an_error_and_each_keeps_to_its_own() {
    in_each_codec("mixed", |url, codec| {
        let host = host(url, codec);
        let bare_worker = BareWorker::join(url, codec);
        let sender = Peer::sender(url, codec, "PA").start();
        until_known(&host, "PA", 1);
        let intruder = Peer::worker(url, codec, "EC").start();
        until_known(&host, "EC", 3);
        host.until_log(&["ERROR", "the type EC is served both by mshost and by workers of the original"]);
        until_metric(&host, "mshost_interop_mixed_types", 1);
        assert_eq!(metric(&host, "mshost_interop_proxies"), 1, "of the sender alone");
        sender.send(&["EC:*"], &json!({ "do": "ok" }));
        sender.until("sent", 1);
        until_metric(&host, &interop_jobs("in", "left"), sender.events("sent").len() as u64);
        for _ in 0..20 {
            bare_worker.send(&["EC:*"], &json!({ "do": "ok" })).unwrap();
        }
        until_metric(&host, r#"microservices_messages_received_total{service="worker-EC",type="job_request"}"#, 20);
        assert!(intruder.events("took").iter().all(|took| took["job"]["sender"]["id"] == sender.id()));
        // By its id there is no doubt whose a job is.
        let taken = metric(&host, &interop_jobs("in", "taken"));
        sender.send(&[&own(&host)[0]], &json!({ "do": "ok" }));
        until_metric(&host, &interop_jobs("in", "taken"), taken + 1);
        assert!(intruder.stop().success());
        until_metric(&host, "mshost_interop_mixed_types", 0);
    });
}
