//! Whatever comes in, nothing panics; whatever goes out can be read.

use bytes::Bytes;
use mshost_plugin_api::{Codec, Payload, Route};
use proptest::prelude::*;
use serde_json::Value;

use super::super::*;
use super::{job, job_id};

const KEYS: [(&str, &str); 7] = [
    ("notifications", "worker.new"),
    ("notifications", "worker.new.resend"),
    ("notifications", "worker.getAll"),
    ("notifications", "worker.list"),
    ("notifications", "worker.del"),
    ("notifications", "error"),
    ("polling", "worker.list"),
];

fn codec() -> impl Strategy<Value = Codec> {
    proptest::sample::select(Codec::ALL.to_vec())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Powers of two are exact in every codec.
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 16.0)),
        "[^\0]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-zé\\\\\"{}\\[\\]]{0,6}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Reads `body` in every way there is.
fn read_all(codec: Codec, body: &Bytes) {
    if let Ok(read) = decode_job(codec, body) {
        // What was accepted can be passed on.
        let mut next = job(read.payload);
        next.route = read.route;
        let again = encode_job(&next).unwrap();
        assert_eq!(decode_job(codec, &again).unwrap().payload, next.payload);
        let _ = next.payload.decode::<Value>();
    }
    for (exchange, key) in KEYS {
        if let Ok(read) = decode_notification(codec, exchange, key, body) {
            encode_notification(codec, &read).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_never_panics(codec in codec(), noise in prop::collection::vec(any::<u8>(), 0..256)) {
        read_all(codec, &noise.into());
    }

    #[test]
    fn mutated_messages_never_panic(
        codec in codec(),
        data in value(),
        failed in any::<bool>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let payload = Payload::encode(codec, &data).unwrap();
        let mut body = if failed {
            let job = job(payload);
            let failure = crate::Failure {
                target: job.sender, error: "e".into(), id: job.id, correlation: job_id("J0"),
                reporter: Some(job.origin), payload: Some(job.payload),
            };
            encode_notification(codec, &crate::Notification::Error(failure)).unwrap().unwrap().body.to_vec()
        } else {
            encode_job(&job(payload)).unwrap().to_vec()
        };
        for (at, byte) in edits {
            let at = at.index(body.len());
            body[at] = byte;
        }
        read_all(codec, &body.clone().into());
        body.truncate(cut.index(body.len()));
        read_all(codec, &body.into());
    }

    #[test]
    fn jobs_survive_the_wire(codec in codec(), data in value(), len in 1..=64_usize, position in any::<prop::sample::Index>()) {
        let payload = Payload::encode(codec, &data).unwrap();
        let mut job = job(payload);
        let first = Route::parse(vec!["WB:*"; len]).unwrap();
        job.route = Route::new(first.addresses(), position.index(len)).unwrap();
        let read = decode_job(codec, &encode_job(&job).unwrap()).unwrap();
        prop_assert_eq!(read.payload.decode::<Value>().unwrap(), data);
        prop_assert_eq!(read.payload.bytes(), job.payload.bytes());
        prop_assert_eq!((read.id, read.route, read.sender), (job.id, job.route, job.sender));
    }

    #[test]
    fn payload_bytes_that_are_accepted_are_well_formed(codec in codec(), noise in prop::collection::vec(any::<u8>(), 0..32)) {
        if let Ok(body) = encode_job(&job(Payload::from_bytes(codec, noise.clone().into()))) {
            let read = decode_job(codec, &body).unwrap();
            prop_assert_eq!(read.payload.bytes().as_ref(), trim(codec, &noise));
        }
    }
}

/// JSON may have white space around a value; a slice of the value has none.
fn trim(codec: Codec, bytes: &[u8]) -> &[u8] {
    if codec == Codec::Json { bytes.trim_ascii() } else { bytes }
}
