//! Whatever anybody puts on the bus, ours go on.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use mshost_bus::{Codec, Payload};
use mshost_tests::host_process::HostProcess;
use mshost_tests::peer::Peer;
use serde_json::{Value, json};

use super::bare_worker::BareWorker;
use super::support::{bus, host, metric, own, until_at_least, until_known, until_metric};

const KEYS: [&str; 10] = [
    "worker.new",
    "worker.new.send",
    "worker.new.resend",
    "worker.getAll",
    "worker.list",
    "worker.del",
    "worker.next",
    "worker.next.ack",
    "error",
    "worker.unheard.of",
];

/// A body that RabbitMQ takes (up to 128 MiB), beyond `max_message`.
const HUGE: usize = 24 << 20;

fn encoded(codec: Codec, value: &Value) -> Vec<u8> {
    match codec {
        Codec::Json => serde_json::to_vec(value).unwrap(),
        Codec::MsgPack => Payload::encode(codec, value).unwrap().bytes().to_vec(),
        Codec::Bson => {
            let envelope = Payload::encode(codec, value).unwrap().bytes().to_vec();
            // A length, a type, `data` and 0 stand before the value, a 0 after it. Only what has parts can stand alone.
            let parts = value.is_object() || value.is_array();
            if parts { envelope[10..envelope.len() - 1].to_vec() } else { envelope }
        }
    }
}

/// Nothing, noise, every other codec, values of other types, and jobs that are none.
fn bodies(codec: Codec) -> Vec<Vec<u8>> {
    let job = |list: Value, position: Value| {
        json!({ "workers_list": list, "workers_list_id": position, "data": 1,
            "sender": { "id": "PA:1460306476102", "type": "PA" }, "id": "J1460306476102" })
    };
    let values = [
        json!(null),
        json!(7),
        json!([]),
        json!({}),
        json!({ "id": 7, "type": [] }),
        json!({ "id": "EC", "type": "EC" }),
        json!({ "id": "../../EC:1460306476102", "type": "EC" }),
        json!([{ "worker": null, "isNext": "yes" }]),
        json!({ "target": 7, "error": {}, "id": null }),
        job(json!(["EC:*"]), json!(1)),
        job(json!(["EC:*"]), json!(-1)),
        job(json!(["EC:*"]), json!(0.5)),
        job(json!(["EC:*"]), json!(1e300)),
        job(json!(["EC:*"]), json!("0")),
        job(json!([]), json!(0)),
        job(json!("EC:*"), json!(0)),
        job(json!([7, null]), json!(0)),
        job(json!(vec!["EC:*"; 1_000]), json!(0)),
    ];
    let mut bodies = vec![Vec::new(), vec![0], vec![0xff; 64], b"{\"id\": ".to_vec(), b"Hi workers".to_vec()];
    // Much deeper than a parser that recurses stands.
    bodies.push(b"[".repeat(200_000));
    bodies.push(b"\x91".repeat(200_000));
    for written in Codec::ALL {
        bodies.extend(values.iter().map(|value| encoded(written, value)));
    }
    bodies.push(encoded(codec, &job(json!(["EC:*"]), json!(0)))[..20].to_vec());
    bodies
}

async fn publish(channel: &Channel, exchange: &str, key: &str, body: &[u8]) {
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    channel.basic_publish(exchange.into(), key.into(), options, body, properties).await.unwrap().await.unwrap();
}

/// Puts all of it everywhere; `between` is called after each key.
async fn flood(url: &str, codec: Codec, id: &str, between: impl Fn()) {
    let raw = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = raw.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let places = KEYS.map(|key| ("notifications", key)).into_iter();
    let places = places.chain([("polling", "worker.list"), ("mshost.jobs", "EC"), ("mshost.jobs", id)]);
    for (exchange, key) in places {
        for body in bodies(codec) {
            publish(&channel, exchange, key, &body).await;
        }
        between();
    }
    let huge = vec![b'['; HUGE];
    let notifications = ["worker.new.send", "worker.next", "worker.next.ack"].map(|key| ("notifications", key));
    for (exchange, key) in notifications.into_iter().chain([("mshost.jobs", "EC")]) {
        publish(&channel, exchange, key, &huge).await;
        between();
    }
    raw.close(200, "".into()).await.unwrap();
}

fn once_a_kind(host: &HostProcess) {
    let log = host.log();
    let refused: Vec<_> = log.iter().filter(|line| line.contains("refused a malformed")).collect();
    assert!((2..40).contains(&refused.len()), "{} lines: {refused:#?}", refused.len());
}

#[test]
fn malformed_messages_on_every_key_are_counted_and_refused_while_jobs_flow() {
    // One after the other: the bodies are large.
    for codec in Codec::ALL {
        let url = bus("malformed-host", codec);
        let mut host = host(&url, codec);
        let bare_worker = BareWorker::join(&url, codec);
        let workers = own(&host);
        let sent = std::cell::Cell::new(0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let flooded = std::thread::scope(|scope| {
            let (tick, ticks) = std::sync::mpsc::sync_channel(0);
            let (url, id) = (&url, &workers[0]);
            let flooding = scope.spawn(move || runtime.block_on(flood(url, codec, id, || tick.send(()).unwrap())));
            while ticks.recv().is_ok() {
                for _ in 0..10 {
                    bare_worker.send(&["EC:*"], &json!({ "do": "ok" })).unwrap();
                    sent.set(sent.get() + 1);
                }
            }
            flooding.join()
        });
        flooded.unwrap();
        // None of the original could have stood that. Those that come now are served as ever.
        let sender = Peer::sender(&url, codec, "PA").start();
        until_known(&host, "PA", 1);
        sender.send(&["EC:*"], &json!({ "do": "ok" }));
        sender.until("ack", 1);
        assert!(sender.stop().success());
        let done = r#"microservices_messages_received_total{service="worker-EC",type="job_activated"}"#;
        let errors = r#"mshost_malformed_total{"#;
        until_at_least(&host, done, sent.get());
        assert!(metric(&host, errors) > 100, "{codec}");
        assert!(metric(&host, r#"mshost_malformed_total{kind="too_large""#) >= 3, "{codec}");
        once_a_kind(&host);
        assert_eq!(own(&host), workers, "none was started again");
        until_metric(&host, "mshost_bus_reconnects_total", 0);
        assert_eq!(host.ask("/readyz").status, 200);
        assert!(host.stop().success(), "{}", host.log_text());
    }
}
