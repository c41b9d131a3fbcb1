//! Who is there: the original's manager lists our workers, ours lists the original's.

use mshost_bus::Codec;
use mshost_tests::host_process::HostProcess;
use mshost_tests::peer::Peer;

use super::support::{KEEPALIVE, bus, host, in_each_codec, own, topology, until_known, until_metric};

fn until_all_listed(manager: &Peer, host: &HostProcess) {
    own(host).iter().for_each(|id| manager.until_listed(id));
}

#[test]
fn their_manager_lists_our_workers_whichever_comes_first() {
    in_each_codec("their-manager", |url, codec| {
        let early = Peer::manager(url, codec).start();
        let mut host = host(url, codec);
        // From their announcements alone: this manager has asked before they were there.
        until_all_listed(&early, &host);
        let late = Peer::manager(url, codec).start();
        until_all_listed(&late, &host);
        assert_eq!(late.listed().len(), 2, "{:?}", late.listed());
        let ids = own(&host);
        assert!(host.stop().success(), "{}", host.log_text());
        for manager in [&early, &late] {
            ids.iter().for_each(|id| manager.until_not_listed(id));
            assert!(manager.stop().success());
        }
    });
}

#[test]
fn our_workers_answer_every_keepalive_of_their_manager() {
    in_each_codec("keepalive", |url, codec| {
        let host = host(url, codec);
        let manager = Peer::manager(url, codec).keepalive(KEEPALIVE).start();
        for id in own(&host) {
            manager.until_event("announced", |event| event["id"] == *id);
        }
        let before = manager.events("announced").len();
        // Two more rounds of two workers, whom our own manager asks, too.
        let announced = manager.until("announced", before + 4);
        assert!(announced.iter().all(|event| event["type"] == "EC"), "{announced:?}");
        assert_eq!(manager.listed().len(), 2);
        assert!(manager.stop().success());
    });
}

#[test]
fn our_manager_lists_their_workers_whichever_comes_first() {
    in_each_codec("our-manager", |url, codec| {
        let early = Peer::worker(url, codec, "PB").start();
        let host = host(url, codec);
        until_known(&host, "PB", 1);
        let late = Peer::worker(url, codec, "PB").start();
        until_known(&host, "PB", 2);
        host.until_log(&["worker joined", early.id()]);
        host.until_log(&["worker joined", late.id()]);
        assert!(early.stop().success());
        until_known(&host, "PB", 1);
        host.until_log(&["worker left", early.id()]);
        assert!(late.stop().success());
        until_known(&host, "PB", 0);
    });
}

#[test]
fn a_worker_of_theirs_that_dies_without_a_word_expires_and_ours_go_on() {
    in_each_codec("their-death", |url, codec| {
        let mut host = host(url, codec);
        let worker = Peer::worker(url, codec, "PB").start();
        let manager = Peer::manager(url, codec).start();
        until_known(&host, "PB", 1);
        until_all_listed(&manager, &host);
        let before = own(&host);
        worker.kill();
        manager.kill();
        until_known(&host, "PB", 0);
        assert_eq!(own(&host), before, "none of ours was started again");
        assert_eq!(host.ask("/readyz").status, 200);
        until_known(&host, "EC", 2);
        let again = Peer::worker(url, codec, "PB").start();
        until_known(&host, "PB", 1);
        assert!(again.stop().success());
        assert!(host.stop().success(), "{}", host.log_text());
    });
}

#[test]
fn whoever_asks_for_the_list_of_workers_sees_it_in_our_log() {
    in_each_codec("polling", |url, codec| {
        let host = host(url, codec);
        let manager = Peer::manager(url, codec).start();
        manager.poll();
        host.until_log(&["list of workers requested"]);
        manager.until_event("workers", |event| event["asked"] == true);
        assert!(manager.stop().success());
    });
}

#[test]
fn workers_of_theirs_beyond_the_limit_are_counted_and_a_higher_one_is_taken_up_at_once() {
    let (url, codec) = (&bus("max-proxies", Codec::MsgPack), Codec::MsgPack);
    let host = host(url, codec);
    let limited = |max: u32| topology(url, codec).replace("[manager]", &format!("[manager]\nmax_proxies = {max}"));
    host.site.topology(&limited(1));
    let _workers = [(); 2].map(|()| Peer::worker(url, codec, "PB").start());
    until_known(&host, "PB", 2);
    until_metric(&host, "mshost_interop_without_proxy", 1);
    until_metric(&host, "mshost_interop_proxies", 1);
    host.site.topology(&limited(2));
    until_metric(&host, "mshost_interop_proxies", 2);
    until_metric(&host, "mshost_interop_without_proxy", 0);
}
