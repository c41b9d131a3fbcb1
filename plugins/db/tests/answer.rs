//! Queries and answers without a bus, as they look in JSON.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use db::answer::answer;
use db::message::Query;
use db::store::Store;
use serde_json::{Value, json};

struct Service {
    store: Store,
    _folder: tempfile::TempDir,
}

impl Service {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { store: Store::open(&folder.path().join("movies.db")).unwrap(), _folder: folder }
    }

    fn ask(&self, query: Value, request: &str) -> Value {
        let query: Query = serde_json::from_value(query).unwrap();
        serde_json::to_value(answer(&self.store, 100, query, request).unwrap()).unwrap()
    }
}

#[test]
fn get_lists_and_finds() {
    let service = Service::new();
    let list = service.ask(json!({"method": "GET", "params": {}, "resId": "r", "time": 1}), "1");
    assert_eq!(list["content"][0], json!({"id": 1, "title": "Metropolis", "year": 1927}));
    let page = service.ask(json!({"method": "GET", "params": {"after": 2}, "resId": "r", "time": 1}), "2");
    assert_eq!(page["content"][0]["id"], 3);
    let one = service.ask(json!({"method": "GET", "params": {"id": 2}, "resId": "r", "time": 1}), "3");
    assert_eq!(one["content"]["title"], "Seven Samurai");
}

#[test]
fn post_stores_once_per_request() {
    let service = Service::new();
    let post = json!({"method": "POST", "params": {"body": {"title": "Alien"}}, "resId": "r", "time": 1});
    let first = service.ask(post.clone(), "request 1");
    assert_eq!(first["content"], json!({"id": 4, "title": "Alien"}));
    assert_eq!(service.ask(post.clone(), "request 1"), first);
    assert_ne!(service.ask(post, "request 2")["content"]["id"], 4);
}

#[test]
fn what_the_query_carries_comes_back() {
    let service = Service::new();
    let answer = service.ask(json!({"method": "GET", "resId": 7, "time": 1460306476102.0, "via": "pilot 1"}), "1");
    assert_eq!(
        (&answer["resId"], &answer["time"], &answer["via"]),
        (&json!(7), &json!(1460306476102.0), &json!("pilot 1"))
    );
    assert_eq!(answer.get("error"), None);
}

#[test]
fn a_query_that_cannot_be_answered_says_why() {
    let service = Service::new();
    let ask = |method: &str, params: Value| {
        let answer = service.ask(json!({"method": method, "params": params, "resId": "r"}), "1");
        assert_eq!(answer.get("content"), None);
        (answer["status"].as_u64().unwrap(), answer["error"].as_str().unwrap().to_owned())
    };
    assert_eq!(ask("GET", json!({"id": 99})), (404, "no movie has the id 99".into()));
    assert_eq!(ask("PUT", json!({})).0, 404);
    let (status, error) = ask("POST", json!({"body": {"name": "Alien"}}));
    assert_eq!(status, 400);
    assert!(error.contains("missing field `title`"), "{error}");
    assert_eq!(ask("POST", json!({})).0, 400);
}
