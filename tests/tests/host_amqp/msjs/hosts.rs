//! Two hosts and the original on one broker: one host at a time does what is between the kinds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mshost_bus::Codec;
use mshost_tests::host_process::{HostProcess, LIMIT};
use mshost_tests::peer::Peer;
use mshost_tests::wait::until;
use serde_json::json;

use super::bare_worker::BareWorker;
use super::support::{bus, host, in_each_codec, interop_jobs, metric, until_at_least, until_known, until_metric};

const DONE: &str = r#"microservices_messages_received_total{service="worker-EC",type="job_request"}"#;

fn sum(hosts: &[&HostProcess], start: &str) -> u64 {
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

/// How many jobs a proxy has in hand when its host dies.
const HELD: u64 = 20;

fn active(hosts: &[HostProcess]) -> usize {
    let active = |host: &HostProcess| metric(host, "mshost_manager_active") == 1;
    until("an active manager", LIMIT, || hosts.iter().position(active))
}

/// Jobs that the host which dies has said, and nobody has taken: the next one says them again, to the end.
#[test]
fn the_jobs_that_proxies_hold_outlive_their_host() {
    let (url, codec) = (&bus("proxies-die", Codec::MsgPack), Codec::MsgPack);
    let mut hosts = [host(url, codec), host(url, codec)];
    let silent = Peer::worker(url, codec, "PB").silent().echo().start();
    let bare_worker = BareWorker::join(url, codec);
    let mut ids = vec![bare_worker.send_once_possible(&["PB:*"], &json!(0))];
    for number in 1..HELD {
        ids.push(bare_worker.send(&["PB:*"], &json!(number)).unwrap());
    }
    silent.until("took", ids.len());
    let first = active(&hosts);
    assert_eq!(metric(&hosts[first], &interop_jobs("out", "unanswered")), 0, "all are still in hand");
    hosts[first].kill();
    let other = &hosts[1 - first];
    until_metric(other, &interop_jobs("out", "unanswered"), HELD);
    for id in &ids {
        bare_worker.until_error(id);
    }
    let buried: BTreeSet<_> = bare_worker.dead_letters().into_iter().map(|letter| letter.id).collect();
    assert_eq!(buried, ids.iter().map(ToString::to_string).collect());
}

/// Jobs flow to the original's worker all the time while the host dies that stands in for it.
#[test]
fn no_job_to_their_worker_is_lost_when_the_active_host_dies() {
    let (url, codec) = (&bus("flow-dies", Codec::MsgPack), Codec::MsgPack);
    let mut hosts = [host(url, codec), host(url, codec)];
    let theirs = Peer::worker(url, codec, "PB").echo().start();
    let bare_worker = BareWorker::join(url, codec);
    for host in &hosts {
        until_known(host, "PB", 1);
    }
    let first = active(&hosts);
    let mut sent = BTreeMap::new();
    let mut send = |count: u64| {
        for _ in 0..count {
            let number = sent.len() as u64;
            sent.insert(bare_worker.send_once_possible(&["PB:*"], &json!(number)), number);
        }
    };
    send(100);
    hosts[first].kill();
    send(100);
    until_at_least(&hosts[1 - first], &interop_jobs("out", "taken"), 1);
    send(100);
    let missing = || {
        let took: BTreeSet<_> = theirs.events("took").iter().filter_map(|took| took["job"]["data"].as_u64()).collect();
        let told = bare_worker.errors();
        sent.iter().filter(|(id, number)| !took.contains(number) && !told.contains(id)).count()
    };
    until("each job taken, or its sender told", LIMIT, || (missing() == 0).then_some(()));
}
