//! What is asked and what is answered.

use rest::config::RestConfig;
use rest::message::Answer;
use serde_json::{Value, json};

use crate::client::Client;
use crate::server::{Reaction, Server, content, within};

fn movies() -> Value {
    json!([{"id": 1, "title": "Metropolis"}])
}

#[tokio::test]
async fn get_answers_what_the_bus_says() {
    let server = Server::start(RestConfig::default(), |_| {
        Reaction::Answer(Answer { content: movies(), via: Some("pilot 7".into()), ..Answer::default() })
    });
    let response = server.get("/movies/").await;
    assert_eq!((response.status, &response.body), (200, &movies()));
    assert_eq!(response.header("x-served-by"), Some("pilot 7"));
    assert_eq!(server.last_question(), json!({"method": "GET", "params": {}}));

    server.get("/movies/12").await;
    assert_eq!(server.last_question(), json!({"method": "GET", "params": {"id": 12}}));
    server.get("/movies?after=12").await;
    assert_eq!(server.last_question(), json!({"method": "GET", "params": {"after": 12}}));
}

#[tokio::test]
async fn post_sends_the_body_and_says_where_the_movie_is() {
    let server = Server::start(RestConfig::default(), |_| content(json!({"id": 4, "title": "Alien"})));
    let response = server.post("/movies/", r#"{"title": "Alien", "year": 1979}"#).await;
    assert_eq!(response.status, 201);
    assert_eq!(response.header("location"), Some("/movies/4"));
    assert_eq!(server.last_question(), json!({"method": "POST", "params": {"body": {"title": "Alien", "year": 1979}}}));
}

#[tokio::test]
async fn a_body_that_is_no_movie_is_the_clients_mistake() {
    let server = Server::start(RestConfig::default(), |_| panic!("the bus must not be asked"));
    let response = server.post("/movies/", "{\n  \"title\": Alien\n}").await;
    assert_eq!(response.status, 400);
    assert_eq!(response.error(), "the body is not JSON: expected value at line 2 column 12");
    for body in
        ["", "{", "\u{1}", "[]", "{}", r#"{"title": 3}"#, r#"{"title": " "}"#, r#"{"name": "Alien"}"#, "\"title\""]
    {
        assert_eq!(server.post("/movies/", body).await.status, 400, "{body:?}");
    }
}

#[tokio::test]
async fn elsewhere_is_nothing() {
    let server = Server::start(RestConfig::default(), |_| panic!("the bus must not be asked"));
    for path in ["/", "/movie", "/movies/x", "/movies/1/2", "/favicon.ico"] {
        let response = server.get(path).await;
        assert_eq!((response.status, response.error()), (404, &*format!("there is nothing at GET {path}")));
    }
    assert_eq!(server.post("/movies/1", "{}").await.status, 404);
    let mut client = Client::connect(server.address).await;
    client.write("DELETE /movies/ HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(within(client.read()).await.unwrap().status, 404);
}

#[tokio::test]
async fn a_pipeline_that_fails_is_answered_at_once_and_says_why() {
    let started = std::time::Instant::now();
    let server = Server::start(RestConfig::default(), |_| Reaction::Refuse("no worker available for WD:*"));
    let response = server.get("/movies/").await;
    assert_eq!((response.status, response.error()), (500, "no worker available for WD:*"));

    let server = Server::start(RestConfig::default(), |_| Reaction::Report("no worker available for WB:*"));
    let response = server.get("/movies/").await;
    assert_eq!((response.status, response.error()), (500, "no worker available for WB:*"));
    assert!(started.elapsed() < RestConfig::default().request_timeout.0 / 2, "it waited for a timeout");
    assert!(server.pending.is_empty());
}

#[tokio::test]
async fn a_worker_may_choose_an_error_status_and_no_other() {
    let cases = [(Some(404), 404), (Some(400), 400), (Some(503), 503), (None, 500), (Some(200), 500), (Some(42), 500)];
    for (status, expected) in cases {
        let server = Server::start(RestConfig::default(), move |_| {
            Reaction::Answer(Answer { error: Some("no".into()), status, ..Answer::default() })
        });
        let response = server.get("/movies/9").await;
        assert_eq!((response.status, response.error()), (expected, "no"), "{status:?}");
    }
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let server = Server::start(RestConfig::default(), |question| content(json!(question.method)));
    let mut client = Client::connect(server.address).await;
    for _ in 0..10 {
        assert_eq!(within(client.get("/movies/")).await.body, "GET");
        assert_eq!(within(client.post("/movies/", r#"{"title":"x"}"#)).await.body, "POST");
        assert_eq!(within(client.post("/movies/", "nonsense")).await.status, 400);
    }
}
