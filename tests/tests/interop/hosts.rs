//! Two hosts and the original on one broker: one host at a time does what is between the kinds.

use std::time::Duration;

use mshost_tests::host::{Host, LIMIT};
use mshost_tests::peer::Peer;
use mshost_tests::wait::until;
use serde_json::json;

use super::support::{host, in_each_codec, interop_jobs, metric, until_known};

const DONE: &str = r#"microservices_messages_received_total{service="worker-EC",type="job_request"}"#;

fn sum(hosts: &[&Host], start: &str) -> u64 {
    hosts.iter().map(|host| metric(host, start)).sum()
}

#[test]
fn each_job_of_theirs_is_taken_once_and_another_host_goes_on_when_one_dies() {
    in_each_codec("two-hosts", |url, codec| {
        let [mut first, mut second] = [host(url, codec), host(url, codec)];
        let sender = Peer::sender(url, codec, "PA").start();
        for host in [&first, &second] {
            until_known(host, "PA", 1);
            until_known(host, "EC", 4);
        }
        sender.send_many(&["EC:*"], &json!({ "do": "ok" }), 100, Duration::from_millis(2));
        let taken = interop_jobs("in", "taken");
        until("100 jobs taken", LIMIT, || (sum(&[&first, &second], &taken) >= 100).then_some(()));
        until("100 jobs done", LIMIT, || (sum(&[&first, &second], DONE) >= 100).then_some(()));
        assert_eq!(sum(&[&first, &second], &taken), 100, "{codec}");
        assert_eq!(sum(&[&first, &second], DONE), 100, "{codec}");
        let took: Vec<u64> = [&first, &second].map(|host| metric(host, &taken)).into();
        assert!(took.contains(&0), "one of them hears the original: {took:?}");
        // Ids of one millisecond are one id, and one ack settles all that have it.
        until("no job that waits for its ack", LIMIT, || (sender.events("ack").len() >= 50).then_some(()));

        let (dead, alive) = if took[0] > 0 { (&mut first, &second) } else { (&mut second, &first) };
        dead.kill();
        let before = metric(alive, DONE);
        sender.send_many(&["EC:*"], &json!({ "do": "ok" }), 20, Duration::from_millis(2));
        until("20 more jobs done by the other", LIMIT, || (metric(alive, DONE) >= before + 20).then_some(()));
        assert!(sender.events("error").is_empty(), "{codec} {:?}", sender.events("error"));
    });
}

#[test]
fn their_worker_gets_each_job_once_whichever_host_sends() {
    in_each_codec("two-senders", |url, codec| {
        let hosts = [host(url, codec), host(url, codec)];
        let theirs = Peer::worker(url, codec, "PB").echo().start();
        let sender = Peer::sender(url, codec, "PA").start();
        for host in &hosts {
            until_known(host, "PB", 1);
            until_known(host, "EC", 4);
        }
        sender.send_many(&["EC:*", "PB:*", sender.id()], &json!({ "do": "forward" }), 50, Duration::from_millis(2));
        theirs.until("took", 50);
        sender.until("result", 50);
        let [first, second] = &hosts;
        until("50 acks", LIMIT, || (sum(&[first, second], &interop_jobs("out", "taken")) >= 50).then_some(()));
        assert_eq!(theirs.events("took").len(), 50, "{codec}");
    });
}
