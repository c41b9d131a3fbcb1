//! Our codec and the libraries of the original read and write the same messages.
//!
//! `tests/peer/golden.json` is what theirs wrote (`tests/peer/record.js`); the other way round, they read what ours writes.

use bytes::Bytes;
use mshost_bus::codec::{Message, decode_job, decode_notification, encode_job, encode_notification};
use mshost_bus::{Announcement, Codec, Failure, Job, Notification, Payload, PoolEntry, Route, WireJob};
use mshost_core::ids::{JobId, WorkerId, WorkerRef};
use mshost_tests::peer::Peer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const JOBS: [&str; 2] = ["worker.next", "worker.next.ack"];

#[derive(Debug, Clone, Deserialize)]
struct Golden {
    kind: String,
    codec: Option<String>,
    exchange: String,
    key: String,
    body: String,
    #[serde(default)]
    meaning: Value,
}

impl Golden {
    fn codec(&self) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| self.codec.as_deref() == Some(codec.name()))
    }

    fn body(&self) -> Bytes {
        let hex = &self.body;
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn is_job(&self) -> bool {
        JOBS.contains(&&*self.key)
    }
}

/// All that were recorded, with their codecs; texts, which have none, once for each.
fn golden() -> Vec<(Codec, Golden)> {
    let all: Vec<Golden> = serde_json::from_str(include_str!("../../peer/golden.json")).unwrap();
    let of = |codec: Codec| all.iter().filter(move |golden| golden.codec().is_none_or(|its| its == codec));
    Codec::ALL.into_iter().flat_map(|codec| of(codec).map(move |golden| (codec, golden.clone()))).collect()
}

fn jobs() -> impl Iterator<Item = (Codec, Golden)> {
    golden().into_iter().filter(|(_, golden)| golden.is_job())
}

fn notifications() -> impl Iterator<Item = (Codec, Golden)> {
    golden().into_iter().filter(|(_, golden)| !golden.is_job())
}

fn worker(worker: &WorkerRef) -> Value {
    json!({ "id": &*worker.id, "type": &*worker.worker_type })
}

/// What a job means, in the words of golden.json.
fn meaning_of_job(job: &WireJob) -> Value {
    let list: Vec<String> = job.route.addresses().iter().map(ToString::to_string).collect();
    json!({
        "workers_list": list,
        "workers_list_id": job.route.position(),
        "data": data(&job.payload),
        "sender": worker(&job.sender),
        "id": &*job.id,
    })
}

/// Doubles that are whole numbers are those numbers, as they are in JavaScript.
fn data(payload: &Payload) -> Value {
    whole(payload.decode().unwrap())
}

fn whole(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 => json!(float as i64),
            _ => Value::Number(number),
        },
        Value::Array(values) => values.into_iter().map(whole).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, whole(value))).collect(),
        other => other,
    }
}

/// What a notification means, in the words of golden.json.
fn meaning(notification: &Notification) -> Value {
    match notification {
        Notification::New { worker: announced, .. } => worker(&announced.worker),
        Notification::Del(gone) => worker(gone),
        Notification::List(pool) => {
            pool.iter().map(|entry| json!({ "worker": worker(&entry.worker), "isNext": entry.is_next })).collect()
        }
        Notification::Error(failure) => {
            let mut error = json!({ "target": &*failure.target.id, "error": failure.error, "id": &*failure.id });
            if let Some(payload) = &failure.payload {
                error["data"] = data(payload);
            }
            error
        }
        Notification::Next(job) | Notification::Taken { job, .. } => meaning_of_job(job),
        Notification::GetAll | Notification::ListRequest => Value::Null,
    }
}

#[test]
fn jobs_of_theirs_mean_to_us_what_they_mean_to_them() {
    for (codec, golden) in jobs() {
        let mut expected = golden.meaning.clone();
        // Ours has no such thing as `undefined`: no data is null.
        expected.as_object_mut().unwrap().entry("data").or_insert(Value::Null);
        // Only the pools of theirs have a use for it.
        expected.as_object_mut().unwrap().remove("ignoreUpdate");
        if golden.kind == "next_bare_type" {
            expected["workers_list"] = json!(["WB:*"]);
        }
        let read = decode_job(codec, &golden.body()).unwrap();
        assert_eq!(meaning_of_job(&read), expected, "{} {codec}", golden.kind);
    }
}

#[test]
fn notifications_of_theirs_mean_to_us_what_they_mean_to_them() {
    for (codec, golden) in notifications() {
        let mut expected = golden.meaning.clone();
        // What matters of the sender's whole config is who it is.
        if let Some(id) = expected["target"].get("id").cloned() {
            expected["target"] = id;
        }
        let read = decode_notification(codec, &golden.exchange, &golden.key, &golden.body()).unwrap();
        assert_eq!(meaning(&read), expected, "{} {codec}", golden.kind);
    }
}

fn job(read: WireJob) -> Job {
    let WireJob { id, route, sender, payload } = read;
    Job { correlation: id.clone(), id, route, origin: sender.clone(), sender, attempt: 1, deadline: None, payload }
}

#[test]
fn jobs_that_we_pass_on_are_written_in_the_same_bytes() {
    // Ours writes what it understood: a bare type as `TYPE:*`, no data as null, and no `ignoreUpdate`.
    let differ = ["next_bare_type", "next_without_data", "ack_by_id"];
    for (codec, golden) in jobs().filter(|(_, golden)| !differ.contains(&&*golden.kind)) {
        let job = job(decode_job(codec, &golden.body()).unwrap());
        assert_eq!(encode_job(&job).unwrap(), golden.body(), "{} {codec}", golden.kind);
    }
}

#[test]
fn what_we_say_of_jobs_is_written_in_the_same_bytes() {
    for codec in Codec::ALL {
        let golden = |kind| jobs().find(|(of, golden)| *of == codec && golden.kind == kind).unwrap().1;
        for (next, ack, by_id) in [("next", "ack", false), ("next_by_id", "ack_by_id", true)] {
            let (next, ack) = (golden(next), golden(ack));
            let job = decode_job(codec, &next.body()).unwrap();
            let said =
                [(Notification::Next(job.clone()), next), (Notification::Taken { job: job.taken(), by_id }, ack)];
            for (notification, golden) in said {
                let written = encode_notification(codec, &notification).unwrap().unwrap();
                assert_eq!((written.exchange, written.routing_key), (&*golden.exchange, &*golden.key));
                assert_eq!(written.body, golden.body(), "{} {codec}", golden.kind);
            }
        }
    }
}

/// `PLAIN` of record.js in a worker's own types, with integers that JavaScript, too, takes for 32 bits wide.
#[derive(Serialize)]
struct PlainData {
    flag: bool,
    list: (i32, &'static str, Three),
    none: Option<()>,
    number: i32,
    small: i32,
    text: &'static str,
}

#[derive(Serialize)]
struct Three {
    three: i32,
}

#[derive(Serialize)]
struct Empty {}

#[test]
fn data_of_our_workers_is_written_in_the_same_bytes() {
    // Not `next_numbers`: serde keeps apart what JavaScript does not. A time is an Int64 in our BSON (as is every integer of a
    // `serde_json::Value`) and a Double in theirs; 1.5 is a float64 in our MessagePack and a float32 in theirs. Each side reads
    // the other's form, as the tests above and below show.
    let plain = PlainData {
        flag: true,
        list: (1, "two", Three { three: 3 }),
        none: None,
        number: -70_000,
        small: 7,
        text: "é",
    };
    for codec in Codec::ALL {
        let same = [
            ("next", Payload::encode(codec, &plain).unwrap()),
            ("next_null", Payload::encode(codec, &()).unwrap()),
            ("next_text", Payload::encode(codec, "just text").unwrap()),
            ("next_array", Payload::encode(codec, &(1, (2, Empty {}), "x")).unwrap()),
        ];
        for (kind, payload) in same {
            let (_, golden) = jobs().find(|(of, golden)| *of == codec && golden.kind == kind).unwrap();
            let job = Job { payload, ..job(decode_job(codec, &golden.body()).unwrap()) };
            assert_eq!(encode_job(&job).unwrap(), golden.body(), "{kind} {codec}");
        }
    }
}

#[test]
fn notifications_are_written_in_the_same_bytes() {
    for (codec, golden) in notifications() {
        // Ours says more in an error, under the key `mshost`, which theirs does not look at; and it announces itself by the routing
        // keys of the code, never by the README's.
        if golden.key == "error" || golden.key == "worker.new" {
            continue;
        }
        let body = golden.body();
        let read = decode_notification(codec, &golden.exchange, &golden.key, &body).unwrap();
        let written = encode_notification(codec, &read).unwrap().unwrap();
        assert_eq!((written.exchange, written.routing_key), (&*golden.exchange, &*golden.key));
        assert_eq!(written.body, body, "{} {codec}", golden.kind);
    }
}

fn person(id: &str) -> WorkerRef {
    WorkerId::new(id).unwrap().into()
}

/// All that we say to everybody, and what it is to them.
fn ours(codec: Codec) -> Vec<(Notification, Value)> {
    let plain = Announcement { worker: person("WB:1460306476102"), host: None };
    let native = Announcement { worker: person("WB:1460306476102-7f3a"), host: Some("here".into()) };
    let id = |text| JobId::new(text).unwrap();
    let failure = Failure {
        target: person("WA:1460306476101"),
        error: "No worker available for this job".into(),
        id: id("J1460306476104"),
        correlation: id("J1460306476103"),
        reporter: None,
        payload: Some(Payload::encode(codec, &json!({ "number": 1 })).unwrap()),
    };
    let bare = Failure { payload: None, reporter: Some(plain.worker.clone()), ..failure.clone() };
    let pool = vec![PoolEntry { worker: plain.worker.clone(), is_next: true }];
    let mshost = json!({ "correlation": "J1460306476103" });
    let reported = json!({ "correlation": "J1460306476103", "reporter": worker(&plain.worker) });
    let error = json!({ "target": "WA:1460306476101", "error": failure.error, "id": "J1460306476104" });
    let with = |base: &Value, more: Value| {
        let mut base = base.clone();
        base.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        base
    };
    let mut all = vec![
        (Notification::Del(plain.worker.clone()), worker(&plain.worker)),
        (Notification::Error(bare), with(&error, json!({ "mshost": reported }))),
        (Notification::Error(failure), with(&error, json!({ "mshost": mshost, "data": { "number": 1 } }))),
        (
            Notification::New { worker: native.clone(), resend: true },
            with(&worker(&native.worker), json!({ "mshost": { "host": "here" } })),
        ),
        (Notification::New { worker: plain.clone(), resend: false }, worker(&plain.worker)),
    ];
    if codec != Codec::Bson {
        all.push((Notification::List(pool), json!([{ "worker": worker(&plain.worker), "isNext": true }])));
    }
    all
}

#[test]
fn what_we_write_means_to_them_what_it_means_to_us() {
    // Larger than an i32, fractions that are exact as a float32 and not, and all that JSON has.
    let payload = json!({ "time": 1_460_306_476_102_i64, "half": 1.5, "tenth": 0.1, "minus": -1, "list": [null, true, {}], "text": "é\u{1F3AC}" });
    for codec in Codec::ALL {
        let peer = Peer::codec(codec).start();
        for (notification, expected) in ours(codec) {
            let Message { body, .. } = encode_notification(codec, &notification).unwrap().unwrap();
            assert_eq!(peer.decode(&body), expected, "{codec} {notification:?}");
        }
        let job = Job {
            id: JobId::new("J1460306476104").unwrap(),
            correlation: JobId::new("J1460306476103").unwrap(),
            route: Route::parse(["WB:*", "WA:1460306476101"]).unwrap(),
            sender: person("WA:1460306476101"),
            origin: person("WA:1460306476101"),
            attempt: 1,
            deadline: None,
            payload: Payload::encode(codec, &payload).unwrap(),
        };
        let expected = json!({
            "workers_list": ["WB:*", "WA:1460306476101"],
            "workers_list_id": 0,
            "data": payload,
            "sender": { "id": "WA:1460306476101", "type": "WA" },
            "id": "J1460306476104",
        });
        assert_eq!(peer.decode(&encode_job(&job).unwrap()), expected, "{codec}");
        assert!(peer.stop().success());
    }
}

#[test]
fn every_kind_is_recorded_in_every_codec_that_can_write_it() {
    let all = golden();
    let kinds = |codec: Codec| {
        all.iter().filter(move |(of, _)| *of == codec).map(|(_, golden)| &*golden.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(Codec::Json), kinds(Codec::MsgPack));
    let without_list: Vec<_> = kinds(Codec::Json).into_iter().filter(|kind| *kind != "list").collect();
    assert_eq!(kinds(Codec::Bson), without_list, "the original's BSON cannot write an array");
    assert_eq!(without_list.len(), 22);
}
