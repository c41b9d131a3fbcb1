//! What we accept although we would not write it, and what we refuse.

use bytes::Bytes;
use mshost_plugin_api::{Address, Codec, MAX_ROUTE_LEN, Payload};
use serde_json::{Value, json};

use super::super::*;
use super::{bytes, job, worker};
use crate::wire_job::WireJob;
use crate::{Announcement, Notification};

fn body() -> Value {
    json!({
        "workers_list": ["WB:*"],
        "workers_list_id": 0,
        "data": [1, "two", null],
        "sender": {"id": "WA:1460306476102", "type": "WA"},
        "id": "J1460306476104",
    })
}

fn with(key: &str, value: Value) -> Value {
    let mut body = body();
    body[key] = value;
    body
}

fn without(key: &str) -> Value {
    let mut body = body();
    body.as_object_mut().unwrap().remove(key);
    body
}

#[track_caller]
fn accepted(body: &Value) -> [WireJob; 3] {
    Codec::ALL.map(|codec| decode_job(codec, &bytes(codec, body)).unwrap_or_else(|error| panic!("{error}")))
}

#[track_caller]
fn refused(body: &Value, kind: &str, reason: &str) {
    for codec in Codec::ALL {
        let error = decode_job(codec, &bytes(codec, body)).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(reason), "{error} does not say {reason:?}");
    }
}

#[test]
fn a_position_may_be_of_any_numeric_type() {
    for number in [json!(1), json!(1.0), json!(1_u64)] {
        let mut body = with("workers_list_id", number);
        body["workers_list"] = json!(["WB:*", "WC:*"]);
        for read in accepted(&body) {
            assert_eq!(read.route.position(), 1);
        }
    }
    for bad in [json!(0.5), json!(-1), json!(-1.0), json!("0"), json!(null), json!([0]), json!(1e300)] {
        refused(&with("workers_list_id", bad), "field", "");
    }
}

#[test]
fn missing_data_is_null() {
    for (read, explicit) in accepted(&without("data")).into_iter().zip(accepted(&with("data", Value::Null))) {
        assert_eq!(read.payload.decode::<Value>().unwrap(), Value::Null);
        assert_eq!(read.payload, explicit.payload);
        assert_eq!(read.payload, Payload::encode(read.payload.codec(), &()).unwrap());
    }
}

#[test]
fn strange_keys_are_ignored_and_a_bare_type_means_any_worker() {
    let mut body = with("ignoreUpdate", json!({"deep": [true, {"data": 1}]}));
    body["workers_list"] = json!(["WB"]);
    body["sender"]["config"] = json!({"broker_url": "amqp://x"});
    for read in accepted(&body) {
        assert_eq!(read.route.target(), &Address::new("WB:*").unwrap());
        assert_eq!(read.payload.decode::<Value>().unwrap(), json!([1, "two", null]));
    }
}

#[test]
fn keys_may_come_in_any_order() {
    let text = r#" {"id":"J1","data": {"data":[ 1 ]} ,"sender":{"type":"WA","id":"WA:1460306476102"},"workers_list_id":0,"workers_list":["WB:*"]} "#;
    let read = decode_job(Codec::Json, &Bytes::from_static(text.as_bytes())).unwrap();
    assert_eq!(read.payload.bytes(), r#"{"data":[ 1 ]}"#);
}

#[test]
fn wrong_envelopes_are_refused() {
    refused(&without("id"), "field", "id");
    refused(&without("sender"), "field", "sender");
    refused(&without("workers_list"), "field", "workers_list");
    refused(&without("workers_list_id"), "field", "workers_list_id");
    refused(&with("id", json!(7)), "field", "");
    refused(&with("id", json!("")), "field", "empty");
    refused(&with("sender", json!("WA:1460306476102")), "field", "");
    refused(&with("sender", json!({"id": "WA", "type": "WA"})), "field", "expected an address");
    refused(&with("workers_list", json!("WB:*")), "field", "");
    refused(&with("workers_list", json!([])), "field", "at least one address");
    refused(&with("workers_list", json!([7])), "field", "");
    refused(&with("workers_list", json!(["WB:12"])), "field", "WB:12");
    refused(&with("workers_list_id", json!(1)), "field", "position 1 is outside of a pipeline of 1");
    refused(&with("workers_list", json!(vec!["WB:*"; MAX_ROUTE_LEN + 1])), "field", "more than 64 addresses");
    accepted(&with("workers_list", json!(vec!["WB:*"; MAX_ROUTE_LEN])));
}

#[test]
fn a_name_given_twice_is_refused() {
    let text = r#"{"workers_list":["WB:*"],"workers_list_id":0,"data":1,"data":2,"sender":{"id":"WA:1460306476102","type":"WA"},"id":"J1"}"#;
    let error = decode_job(Codec::Json, &Bytes::from_static(text.as_bytes())).unwrap_err();
    assert_eq!(error.kind(), "field", "{error}");
    let twice = Bytes::from_static(b"\x82\xa4data\x01\xa4data\x02");
    assert_eq!(decode_job(Codec::MsgPack, &twice).unwrap_err().kind(), "field");
    let twice = Bytes::from_static(b"\x11\0\0\0\x0adata\0\x0adata\0\0");
    assert_eq!(decode_job(Codec::Bson, &twice).unwrap_err().kind(), "field");
}

#[test]
fn broken_bodies_are_refused() {
    for codec in Codec::ALL {
        let kind = |body: Bytes| decode_job(codec, &body).unwrap_err().kind();
        assert_eq!(kind(Bytes::new()), "empty");
        let whole = bytes(codec, &body());
        for len in 1..whole.len() {
            assert_eq!(kind(whole.slice(..len)), "syntax", "{codec}, cut at {len}");
        }
        assert_eq!(kind([&whole[..], b"x"].concat().into()), "trailing", "{codec}");
        if codec != Codec::Bson {
            assert_eq!(kind(bytes(codec, &[1])), "field", "{codec}");
        }
    }
}

#[test]
fn a_refusal_stays_short_however_long_the_message() {
    let long = Value::from("é".repeat(1 << 16));
    for body in [with("workers_list", json!([long])), with("workers_list_id", long.clone()), with("sender", long)] {
        for codec in Codec::ALL {
            let error = decode_job(codec, &bytes(codec, &body)).unwrap_err().to_string();
            assert!(error.len() < 500, "{} bytes", error.len());
        }
    }
}

fn nested(depth: usize) -> Value {
    (1..depth).fold(json!([]), |inner, _| json!([inner]))
}

#[test]
fn nesting_is_limited_alike_for_all() {
    accepted(&with("data", nested(MAX_NESTING)));
    refused(&with("data", nested(MAX_NESTING + 1)), "nesting", "100 levels");
    for codec in Codec::ALL {
        encode_job(&job(Payload::encode(codec, &nested(MAX_NESTING)).unwrap())).unwrap();
        encode_job(&job(Payload::encode(codec, &nested(MAX_NESTING + 1)).unwrap())).unwrap_err();
    }
}

#[test]
fn bottomless_nesting_does_not_overflow_the_stack() {
    let deep = 1 << 20;
    let json = Bytes::from("[".repeat(deep) + &"]".repeat(deep));
    assert_eq!(decode_job(Codec::Json, &json).unwrap_err().kind(), "nesting");
    // Refused at its beginning: to parse 100 MiB of it would hold up a worker's thread.
    assert_eq!(decode_job(Codec::Json, &"[".repeat(deep).into()).unwrap_err().kind(), "nesting");
    assert_eq!(decode_job(Codec::MsgPack, &vec![0x91; deep].into()).unwrap_err().kind(), "nesting");
}

#[test]
fn malformed_payloads_are_not_sent() {
    let bad: [(Codec, &'static [u8]); 9] = [
        (Codec::Json, b""),
        (Codec::Json, b"1,2"),
        (Codec::Json, b"\"\xff\""),
        (Codec::MsgPack, b""),
        (Codec::MsgPack, b"\x92\x01"),
        (Codec::MsgPack, b"\xc1"),
        (Codec::Bson, b"\x05\0\0\0\0"),
        (Codec::Bson, b"\x08\0\0\0\x0ax\0\0"),
        (Codec::Bson, b"\x11\0\0\0\x0adata\0\x0aside\0\0"),
    ];
    for (codec, bytes) in bad {
        let error = encode_job(&job(Payload::from_bytes(codec, Bytes::from_static(bytes)))).unwrap_err();
        assert_eq!(error.codec, codec, "{bytes:?}");
    }
}

#[test]
fn errors_of_the_original_are_understood() {
    let target = json!({"id": "WA:1460306476102", "type": "WA", "keepalive": 5});
    let body = json!({"target": target, "error": "No worker available for this job", "id": "J1", "data": null});
    for codec in Codec::ALL {
        let read = decode_notification(codec, "notifications", "error", &bytes(codec, &body)).unwrap();
        let Notification::Error(failure) = read else { panic!("{read:?}") };
        assert_eq!(failure.target, worker("WA:1460306476102"));
        assert_eq!(failure.correlation, failure.id);
        assert_eq!(failure.payload, Some(Payload::encode(codec, &()).unwrap()));
    }
}

#[test]
fn a_strangers_key_of_our_name_is_ignored() {
    for strange in [json!("x"), json!({"host": 7}), json!([1]), Value::Null] {
        let body = json!({"id": "WA:1460306476102", "type": "WA", "mshost": strange});
        for codec in Codec::ALL {
            let read = decode_notification(codec, "notifications", "worker.new", &bytes(codec, &body)).unwrap();
            let worker = Announcement { worker: worker("WA:1460306476102"), host: None };
            assert_eq!(read, Notification::New { worker, resend: false }, "{codec}");
        }
    }
}

#[test]
fn a_bson_list_is_accepted_as_the_document_it_can_only_be() {
    let entry = json!({"worker": {"id": "WA:1460306476102", "type": "WA"}, "isNext": true});
    let body = bytes(Codec::Bson, &json!({"0": entry, "1": entry}));
    let read = decode_notification(Codec::Bson, "notifications", "worker.list", &body).unwrap();
    assert!(matches!(read, Notification::List(pool) if pool.len() == 2));
}

#[test]
fn other_routing_keys_are_refused() {
    let error = decode_notification(Codec::Json, "notifications", "worker.next", &Bytes::new()).unwrap_err();
    assert_eq!(error.kind(), "routing_key");
    assert!(error.to_string().contains("worker.next"), "{error}");
}

#[test]
fn types_that_json_lacks_may_stand_in_data_and_in_strange_keys() {
    // A date as msgpack5 writes it (extension type -1), `undefined` (its type 0), and bytes.
    let strange = b"\x93\xd6\xff\x57\x0b\x9c\xee\xd4\x00\x00\xc4\x02\x01\x02";
    let mut body = bytes(Codec::MsgPack, &without("data")).to_vec();
    body[0] += 2;
    body.extend_from_slice(&[b"\xa4when", &strange[..], b"\xa4data", strange].concat());
    let read = decode_job(Codec::MsgPack, &body.into()).unwrap();
    assert_eq!(read.payload.bytes().as_ref(), strange);
    encode_job(&job(read.payload)).unwrap();

    let strange = ::bson::doc! {
        "date": ::bson::DateTime::from_millis(1_460_306_476_102),
        "id": ::bson::oid::ObjectId::from_bytes([7; 12]),
        "bytes": ::bson::Binary { subtype: ::bson::spec::BinarySubtype::Generic, bytes: vec![1, 2] },
        "old": ::bson::Binary { subtype: ::bson::spec::BinarySubtype::BinaryOld, bytes: vec![1, 2] },
        "pattern": ::bson::Regex { pattern: "a".try_into().unwrap(), options: "i".try_into().unwrap() },
        "code": ::bson::Bson::JavaScriptCode("f()".into()),
        "scoped": ::bson::Bson::JavaScriptCodeWithScope(::bson::JavaScriptCodeWithScope {
            code: "f()".into(),
            scope: ::bson::doc! {"x": 1},
        }),
        "decimal": ::bson::Bson::Decimal128(::bson::Decimal128::from_bytes([0; 16])),
        "stamp": ::bson::Timestamp { time: 1, increment: 2 },
        "ends": [::bson::Bson::MinKey, ::bson::Bson::MaxKey, ::bson::Bson::Undefined, ::bson::Bson::Int64(7)],
    };
    let mut body = ::bson::serialize_to_document(&without("data")).unwrap();
    body.insert("when", strange.clone());
    body.insert("data", strange.clone());
    let read = decode_job(Codec::Bson, &body.to_vec().unwrap().into()).unwrap();
    assert_eq!(read.payload.decode::<::bson::Document>().unwrap(), strange);
    encode_job(&job(read.payload)).unwrap();
}
