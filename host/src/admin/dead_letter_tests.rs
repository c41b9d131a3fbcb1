use super::*;
use crate::admin::dead_letters::{
    DeadLetterEntry, DeadLetterError, DeadLetterFilter, DeadLetterList, DeadLetterSource, MAX_LISTED, MAX_REQUEUED,
    RefusedRequeue, RequeueReport,
};

/// Two dead letters until they are purged; what is asked of them is written down.
#[derive(Default)]
pub(super) struct FakeDeadLetters {
    purged: Mutex<bool>,
    asked: Mutex<Vec<String>>,
}

fn letter(id: &str) -> DeadLetterEntry {
    DeadLetterEntry {
        id: id.to_owned(),
        reason: "failed".to_owned(),
        error: "told to fail".to_owned(),
        worker: None,
        died: time(),
        job: None,
        raw: None,
    }
}

#[async_trait]
impl DeadLetterSource for FakeDeadLetters {
    async fn list(&self, filter: &DeadLetterFilter, limit: usize) -> Result<DeadLetterList, DeadLetterError> {
        self.asked.lock().push(format!("{:?} {:?} {limit}", filter.worker_type, filter.reason));
        match filter.reason.as_deref() {
            Some("away") => Err(DeadLetterError::Unavailable("the bus is away".to_owned())),
            Some("odd") => Err(DeadLetterError::Invalid("no such reason".to_owned())),
            _ => Ok(DeadLetterList { total: Some(2), truncated: false, letters: vec![letter("J1"), letter("J/2")] }),
        }
    }

    async fn show(&self, id: &str) -> Result<DeadLetterList, DeadLetterError> {
        let letters = ["J1", "J/2"].into_iter().filter(|known| *known == id).map(letter).collect();
        Ok(DeadLetterList { total: Some(2), truncated: false, letters })
    }

    async fn requeue(&self, ids: &[String]) -> Result<RequeueReport, DeadLetterError> {
        self.asked.lock().push(format!("requeue {ids:?}"));
        let refused = vec![RefusedRequeue { id: "J/2".to_owned(), error: "no worker available".to_owned() }];
        Ok(RequeueReport { sent: vec!["J1".to_owned()], refused, unknown: Vec::new() })
    }

    async fn purge(&self) -> Result<u64, DeadLetterError> {
        *self.purged.lock() = true;
        Ok(2)
    }
}

impl TestServer {
    pub(super) async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}");
        let answer = self.raw(&format!("{head}\r\n\r\n{body}")).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect(&answer);
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
    }
}

#[tokio::test]
async fn dead_letters_are_listed_and_shown() {
    let server = start().await;
    let (code, list) = server.json("/api/dead-letters").await;
    assert_eq!((code, &list["total"], &list["letters"][1]["id"]), (200, &json!(2), &json!("J/2")), "{list}");
    server.json("/api/dead-letters?limit=7&type=W%42&reason=failed").await;
    assert_eq!(*server.letters.asked.lock(), ["None None 100", r#"Some("WB") Some("failed") 7"#]);
    let (code, shown) = server.json("/api/dead-letters/J%2F2").await;
    let expected = json!({
        "id": "J/2", "reason": "failed", "error": "told to fail", "worker": null, "died": "1970-01-01T00:00:00.000Z",
        "job": null,
    });
    assert_eq!((code, &shown["letters"][0]), (200, &expected));
    let (code, unknown) = server.json("/api/dead-letters/J3").await;
    assert_eq!((code, &unknown["error"]), (404, &json!("no dead letter has the id `J3`")));
}

#[tokio::test]
async fn questions_that_make_no_sense_say_what_would() {
    let server = start().await;
    let too_many = format!("limit={}", MAX_LISTED + 1);
    for (query, word) in [("limit=0", "10000"), (&too_many, "10000"), ("kind=WB", "`type`"), ("reason=odd", "reason")] {
        let (code, body) = server.json(&format!("/api/dead-letters?{query}")).await;
        assert!(code == 400 && body["error"].as_str().unwrap().contains(word), "{query}: {body}");
    }
    assert_eq!(server.json("/api/dead-letters?reason=away").await.0, 503);
    assert_eq!(server.ask("GET", "/api/dead-letters/").await.0, 404);
}

#[tokio::test]
async fn dead_letters_are_sent_again_by_their_ids() {
    let server = start().await;
    let (code, report) = server.post("/api/dead-letters/requeue", r#"{"ids": ["J1", "J/2"]}"#).await;
    let refused = json!([{"id": "J/2", "error": "no worker available"}]);
    assert_eq!((code, report), (200, json!({"sent": ["J1"], "refused": refused, "unknown": []})));
    let too_many = json!({"ids": vec!["J"; MAX_REQUEUED + 1]}).to_string();
    for body in ["", "[]", "{}", r#"{"ids": []}"#, r#"{"ids": ["J1"], "all": true}"#, &too_many] {
        let (code, answer) = server.post("/api/dead-letters/requeue", body).await;
        assert_eq!(code, 400, "{body}: {answer}");
    }
    let (code, _) = server.post("/api/dead-letters/requeue", &"x".repeat(100_000)).await;
    assert_eq!(code, 413);
    assert_eq!(*server.letters.asked.lock(), [r#"requeue ["J1", "J/2"]"#]);
}

#[tokio::test]
async fn dead_letters_are_forgotten_and_never_for_a_page_of_another_origin() {
    let server = start().await;
    for (method, path) in [("DELETE", "/api/dead-letters"), ("POST", "/api/dead-letters/requeue")] {
        for headers in ["Host: evil.example", "Host: localhost\r\nOrigin: http://evil.example"] {
            let request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n\r\n");
            assert!(server.raw(&request).await.starts_with("HTTP/1.1 403"), "{method} {headers}");
        }
    }
    assert!(!*server.letters.purged.lock() && server.letters.asked.lock().is_empty());
    for (method, path, allowed) in [
        ("POST", "/api/dead-letters", "allow: get, head, delete"),
        ("DELETE", "/api/dead-letters/J1", "allow: get, head"),
        ("GET", "/api/dead-letters/requeue", "allow: post"),
    ] {
        let (code, head, _) = server.ask(method, path).await;
        assert!(code == 405 && head.contains(allowed), "{method} {path}: {head}");
    }
    let (code, _, body) = server.ask("DELETE", "/api/dead-letters").await;
    assert_eq!((code, serde_json::from_str(&body).unwrap()), (200, json!({"purged": 2})));
    assert!(*server.letters.purged.lock());
}
