//! What the tests rely on: that the peers do among themselves what the original does.

use std::time::Duration;

use mshost_bus::Codec;
use mshost_tests::peer::Peer;
use serde_json::{Value, json};

use super::support::bus;

#[test]
fn a_job_goes_along_its_pipeline_and_comes_back() {
    for codec in Codec::ALL {
        let url = bus("pipeline", codec);
        let first = Peer::worker(&url, codec, "PB").start();
        let second = Peer::worker(&url, codec, "PC").to(&["$sender"]).start();
        let sender = Peer::sender(&url, codec, "PA").start();
        let data = json!({ "time": 1_460_306_476_102_i64, "half": 1.5, "text": "é" });
        sender.send_many(&["PB:*", second.id(), sender.id()], &data, 3, Duration::from_millis(2));
        // The second answers its sender, the first, which has no next: it keeps the job.
        let came_back =
            |number| first.until_event("took", |job| job["byId"] == true && job["data"]["number"] == number);
        for number in 0..3 {
            let job = came_back(number);
            assert_eq!(job["data"]["trace"], json!([first.id(), second.id()]), "{codec}");
            assert_eq!(job["data"]["time"], data["time"], "{codec}");
        }
        // Two peers may give one id to jobs of theirs, and take the ack of either for that of their own.
        let own = |peer: &Peer, mut acks: Vec<Value>| {
            acks.retain(|ack| ack["job"]["sender"]["id"] == peer.id());
            acks
        };
        let acks = own(&sender, sender.until("ack", 3));
        assert!(acks.iter().all(|ack| ack["job"]["workers_list_id"] == 1), "{codec} {acks:?}");
        // By id, so no pool is to count it. There may be fewer than jobs: some may have had one id.
        let acks = own(&first, first.until("ack", 1));
        assert!(acks.iter().all(|ack| ack["job"]["ignoreUpdate"] == true), "{codec} {acks:?}");
        for peer in [first, second, sender] {
            assert!(peer.stop().success());
        }
    }
}

#[test]
fn a_job_that_nobody_takes_is_sent_five_times_and_refused_each_time() {
    let url = bus("refused", Codec::Json);
    // The target is an object, which the sender does not take for its id.
    let manager = Peer::manager(&url, Codec::Json).start();
    let sender = Peer::sender(&url, Codec::Json, "PA").start();
    sender.send(&["PB:*"], &json!(7));
    let error = &sender.until("error", 1)[0];
    assert_eq!((&error["error"], &error["data"]), (&json!("Job send too many times"), &json!(7)));
    assert_eq!((sender.events("sent").len(), manager.events("refused").len()), (5, 5));
}

#[test]
fn an_error_whose_target_is_an_id_reaches_the_sender_at_once() {
    let url = bus("refused-by-id", Codec::MsgPack);
    let manager = Peer::manager(&url, Codec::MsgPack).target_id().start();
    let sender = Peer::sender(&url, Codec::MsgPack, "PA").start();
    // A bare type matches nobody.
    sender.send(&["PA"], &json!(7));
    let error = &sender.until("error", 1)[0];
    assert_eq!((&error["error"], &error["data"]), (&json!("No worker available for this job"), &json!(7)));
    assert_eq!(manager.events("refused").len(), 1);
}

#[test]
fn a_pool_has_one_that_tells_and_one_whose_turn_it_is() {
    let url = bus("pool", Codec::Json);
    let first = Peer::worker(&url, Codec::Json, "PB").start();
    let second = Peer::worker(&url, Codec::Json, "PB").start();
    for peer in [&first, &second] {
        let both = |event: &Value| event["pool"].as_array().is_some_and(|pool| pool.len() == 2);
        let pool = &peer.until_event("pool", both)["pool"];
        assert_eq!((&pool[0]["worker"]["id"], &pool[0]["isNext"]), (&json!(first.id()), &json!(true)));
        assert_eq!((&pool[1]["worker"]["id"], &pool[1]["isNext"]), (&json!(second.id()), &json!(false)));
    }
}

#[test]
fn bson_has_no_list_of_workers() {
    let url = bus("pool", Codec::Bson);
    let first = Peer::worker(&url, Codec::Bson, "PB").start();
    let second = Peer::worker(&url, Codec::Bson, "PB").start();
    assert_eq!(first.until("unsent", 1)[0]["key"], "worker.list");
    assert!(second.events("pool").is_empty());
}

#[test]
fn a_message_that_a_peer_cannot_read_is_the_end_of_it() {
    let url = bus("malformed", Codec::Json);
    let worker = Peer::worker(&url, Codec::Json, "PB").start();
    let manager = Peer::manager(&url, Codec::Json).start();
    let stranger = Peer::sender(&url, Codec::MsgPack, "PA").start();
    for peer in [&worker, &manager] {
        let last = peer.until_died();
        assert_eq!((&last["event"], &last["key"]), (&json!("malformed"), &json!("worker.new.send")), "{last}");
    }
    assert!(stranger.stop().success());
}
