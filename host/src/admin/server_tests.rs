#![allow(clippy::unwrap_used, clippy::expect_used)]

mod dead_letter_tests;
mod reload_tests;

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use async_trait::async_trait;
use mshost_core::ids::{GenerationId, PluginName, WorkerType};
use mshost_core::status::{
    BusHealth, BusStatus, Complaint, HostPhase, HostStatus, InstanceState, ManagerState, PluginState, PluginStatus,
    QueueStatus, Timestamp, TopologyStatus, WorkerStatus,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use self::dead_letter_tests::FakeDeadLetters;
use self::reload_tests::FakeReload;
use super::super::status_gauges;
use super::*;
use crate::admin::worker_restart::{RestartAccepted, RestartRefused};

struct FakeStatus(Mutex<HostStatus>);

#[async_trait]
impl StatusSource for FakeStatus {
    async fn status(&self) -> HostStatus {
        self.0.lock().clone()
    }
}

/// Knows one worker, and one that starts.
#[derive(Default)]
struct FakeWorkers;

impl WorkerRestarter for FakeWorkers {
    fn restart(&self, name: &str) -> Result<RestartAccepted, RestartRefused> {
        match name {
            "WB[0]" => Ok(RestartAccepted { slot: name.to_owned(), restart: "requested".to_owned() }),
            "WB[1]" => Err(RestartRefused::Conflict("WB[1] is starting as it is".to_owned())),
            _ => Err(RestartRefused::Unknown(format!("there is no worker {name}"))),
        }
    }
}

struct TestServer {
    address: SocketAddr,
    source: Arc<FakeStatus>,
    letters: Arc<FakeDeadLetters>,
    reloading: Arc<FakeReload>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn time() -> Timestamp {
    SystemTime::UNIX_EPOCH.into()
}

fn worker(slot: &str, state: InstanceState) -> WorkerStatus {
    WorkerStatus {
        slot: slot.to_owned(),
        worker_type: WorkerType::new("WB").unwrap(),
        id: None,
        plugin: PluginName::new("db"),
        generation: Some(GenerationId(1)),
        state,
        since: time(),
        process: None,
        addresses: Default::default(),
        in_flight: 0,
        done: 7,
        failed: 1,
        restarts: 0,
        last_error: None,
    }
}

fn healthy() -> HostStatus {
    HostStatus {
        name: "test".to_owned(),
        version: "0.1.0".to_owned(),
        since: time(),
        phase: HostPhase::Running,
        topology: TopologyStatus { file: "topology.toml".into(), revision: 1, applied: Some(time()), last_error: None },
        bus: BusStatus {
            url: "embedded".to_owned(),
            codec: "msgpack".to_owned(),
            state: BusHealth::Connected,
            error: None,
            manager: ManagerState::Active,
            workers: BTreeMap::new(),
            dead_letters: Some(2),
            leaving: Vec::new(),
        },
        plugins: vec![PluginStatus {
            name: PluginName::new("db"),
            file: Some("plugins/libdb.so".into()),
            version: Some("0.1.0".to_owned()),
            api_version: Some("0.1.0".to_owned()),
            generation: Some(GenerationId(1)),
            state: PluginState::Loaded,
            on_trial: None,
            retiring: Vec::new(),
            last_error: None,
        }],
        workers: vec![worker("WB/0", InstanceState::Running)],
        queues: Vec::new(),
    }
}

async fn start_with(change: impl FnOnce(&mut AdminConfig)) -> TestServer {
    let mut config = AdminConfig::new("127.0.0.1:0".parse().unwrap());
    change(&mut config);
    let source = Arc::new(FakeStatus(Mutex::new(healthy())));
    let letters = Arc::new(FakeDeadLetters::default());
    let (metrics, workers) = (Metrics::new().unwrap(), Arc::new(FakeWorkers));
    let reloading = Arc::new(FakeReload::default());
    let admin =
        AdminServer::bind(config, metrics, source.clone(), letters.clone(), workers, reloading.clone()).await.unwrap();
    let stop = CancellationToken::new();
    let address = admin.address();
    let task = tokio::spawn(admin.run(stop.clone()));
    TestServer { address, source, letters, reloading, stop, task }
}

async fn start() -> TestServer {
    start_with(|_| {}).await
}

impl TestServer {
    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn ask(&self, method: &str, path: &str) -> (u16, String, String) {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = self.raw(&request).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect(&answer);
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_lowercase(), body.to_owned())
    }

    async fn json(&self, path: &str) -> (u16, Value) {
        let (code, _, body) = self.ask("GET", path).await;
        (code, serde_json::from_str(&body).unwrap())
    }
}

#[tokio::test]
async fn each_path_answers_what_it_should() {
    let server = start().await;
    let (code, head, body) = server.ask("GET", "/metrics").await;
    assert_eq!(code, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("microservices_connected_workers 0"), "{body}");
    assert_eq!(server.json("/healthz").await, (200, json!({"status": "alive"})));
    assert_eq!(server.json("/readyz").await, (200, json!({"ready": true, "reasons": [], "warnings": []})));
    for path in ["/", "/metrics/", "/metricsx", "/api", "/api/topology/..", "//metrics"] {
        assert_eq!(server.ask("GET", path).await.0, 404, "{path}");
    }
    let (code, head, _) = server.ask("POST", "/metrics").await;
    assert_eq!((code, head.contains("allow: get, head")), (405, true), "{head}");
    let (code, head, _) = server.ask("GET", "/api/reload").await;
    assert_eq!((code, head.contains("allow: post")), (405, true), "{head}");
    let (code, head, body) = server.ask("HEAD", "/healthz").await;
    assert_eq!((code, body.as_str()), (200, ""), "{head}");
}

#[tokio::test]
async fn the_topology_is_shown_as_json() {
    let server = start().await;
    let (code, shown) = server.json("/api/topology").await;
    assert_eq!(code, 200);
    let expected = json!({
        "name": "test", "version": "0.1.0", "since": "1970-01-01T00:00:00.000Z", "phase": "running",
        "topology": {"file": "topology.toml", "revision": 1, "applied": "1970-01-01T00:00:00.000Z", "last_error": null},
        "bus": {
            "url": "embedded", "codec": "msgpack", "state": "connected", "error": null, "manager": "active", "workers": {}, "dead_letters": 2,
            "leaving": [],
        },
        "plugins": [{
            "name": "db", "file": "plugins/libdb.so", "version": "0.1.0", "api_version": "0.1.0", "generation": 1,
            "state": "loaded", "on_trial": null, "retiring": [], "last_error": null,
        }],
        "workers": [{
            "slot": "WB/0", "type": "WB", "id": null, "plugin": "db", "generation": 1, "state": "running",
            "since": "1970-01-01T00:00:00.000Z", "in_flight": 0, "done": 7, "failed": 1, "restarts": 0, "addresses": {},
            "last_error": null,
        }],
        "queues": [],
    });
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn readiness_names_every_reason() {
    let server = start().await;
    {
        let mut status = server.source.0.lock();
        status.bus.state = BusHealth::Away;
        status.bus.error = Some("connection refused".to_owned());
        let mut parked = worker("WB/1", InstanceState::Parked);
        parked.last_error = Some(Complaint::now("no such table"));
        // WB/0 is being swapped: the old instance runs, the new one starts.
        status.workers.extend([worker("WB/0", InstanceState::Starting), parked]);
    }
    let (code, body) = server.json("/readyz").await;
    assert_eq!(code, 503);
    let reasons = json!(["the bus is away: connection refused", "worker WB/1 is parked: no such table"]);
    assert_eq!(body, json!({"ready": false, "reasons": reasons, "warnings": []}));
    assert_eq!(server.ask("GET", "/healthz").await.0, 200, "alive is not ready");
}

#[tokio::test]
async fn a_restart_is_asked_of_a_worker_by_its_name_and_a_refusal_says_why() {
    let server = start().await;
    for path in ["/api/workers/WB[0]/restart", "/api/workers/WB%5B0%5D/restart"] {
        let (code, _, body) = server.ask("POST", path).await;
        assert!(code == 202 && body.contains("\"slot\": \"WB[0]\""), "{path}: {code} {body}");
    }
    assert_eq!(server.ask("GET", "/api/workers/WB[0]/restart").await.0, 405);
    let (code, _, body) = server.ask("POST", "/api/workers/WB[1]/restart").await;
    assert!(code == 409 && body.contains("\"error\": \"WB[1] is starting as it is\""), "{code} {body}");
    for path in ["/api/workers/nobody/restart", "/api/workers//restart", "/api/workers/restart"] {
        assert_eq!(server.ask("POST", path).await.0, 404, "{path}");
    }
    let from_a_page = "POST /api/workers/WB[0]/restart HTTP/1.1\r\nConnection: close\r\nHost: localhost\r\n\
                       Origin: http://evil.example\r\nContent-Length: 0\r\n\r\n";
    assert!(server.raw(from_a_page).await.starts_with("HTTP/1.1 403"));
}

#[tokio::test]
async fn a_plugin_whose_file_is_gone_warns_and_does_not_unready() {
    let server = start().await;
    server.source.0.lock().plugins[0].state = PluginState::FileGone;
    let (code, body) = server.json("/readyz").await;
    assert_eq!((code, &body["ready"]), (200, &json!(true)));
    assert!(body["warnings"][0].as_str().unwrap().contains("plugin db is gone"), "{body}");
    let gone = "mshost_plugin_file_gone{plugin=\"db\"} 1";
    assert!(server.ask("GET", "/metrics").await.2.contains(gone));
    server.source.0.lock().plugins[0].state = PluginState::Loaded;
    assert!(!server.ask("GET", "/metrics").await.2.contains("mshost_plugin_file_gone{"));
}

#[tokio::test]
async fn foreign_pages_and_large_bodies_are_refused() {
    let server = start().await;
    let post = |headers: &str, body: &str| {
        format!(
            "POST /api/reload HTTP/1.1\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    for headers in ["Host: evil.example\r\n", "Host: localhost\r\nOrigin: http://evil.example\r\n", ""] {
        assert!(server.raw(&post(headers, "")).await.starts_with("HTTP/1.1 403"), "{headers}");
    }
    let large = server.raw(&post("Host: localhost\r\n", &"x".repeat(2_000))).await;
    assert!(large.starts_with("HTTP/1.1 413"), "{large}");
    assert!(server.reloading.asked.lock().is_empty(), "none of them reloads");
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_head_is_cut_off() {
    let server = start_with(|config| config.header_timeout = Duration::from_millis(50)).await;
    let begin = Instant::now();
    server.raw("GET /healthz HTTP/1.1\r\nHost: loc").await;
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_free_slot() {
    let server = start_with(|config| config.max_connections = 1).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    first.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    first.read_u8().await.unwrap();
    let mut second = TcpStream::connect(server.address).await.unwrap();
    second.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    tokio::time::timeout(Duration::from_millis(100), second.read_u8()).await.expect_err("the slot is taken");
    drop(first);
    assert_eq!(second.read_u8().await.unwrap(), b'H');
}

#[tokio::test]
async fn a_port_that_is_taken_and_an_open_address_are_clear_errors() {
    let server = start().await;
    let bind = |config| async {
        let (source, letters) = (Arc::clone(&server.source), Arc::clone(&server.letters));
        let (metrics, workers) = (Metrics::new().unwrap(), Arc::new(FakeWorkers));
        let bound = AdminServer::bind(config, metrics, source, letters, workers, Arc::new(FakeReload::default())).await;
        bound.unwrap_err().to_string()
    };
    let taken = bind(AdminConfig::new(server.address)).await;
    assert!(taken.contains(&server.address.to_string()) && taken.contains("host.admin"), "{taken}");
    let open = bind(AdminConfig::new("0.0.0.0:0".parse().unwrap())).await;
    assert!(open.contains("token"), "{open}");
}

#[tokio::test]
async fn stopping_ends_idle_connections_and_frees_the_port() {
    let server = start().await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    idle.read_u8().await.unwrap();
    server.stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), server.task).await.expect("stops in time").unwrap();
    idle.read_to_end(&mut Vec::new()).await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[test]
fn gauges_follow_the_host_and_forget_what_is_gone() {
    let metrics = Metrics::new().unwrap();
    let mut status = healthy();
    let queue = |name: &str| QueueStatus { queue: name.to_owned(), ready: 3, unsettled: 0, consumers: 1 };
    status.queues = vec![queue("WB:*"), queue("WB:1460306476102")];
    status.workers = vec![worker("WB[0]", InstanceState::Running), worker("WB[1]", InstanceState::Backoff)];
    status_gauges::set(&metrics, &status);
    let text = metrics.render().unwrap();
    assert!(text.contains(r#"mshost_queue_ready{queue="WB:*"} 3"#), "{text}");
    assert!(!text.contains("WB:1460306476102"), "{text}");
    assert!(text.contains(r#"mshost_worker_state{state="backoff",worker_type="WB"} 1"#), "{text}");
    assert!(text.contains("mshost_bus_connected 1") && text.contains("mshost_dead_letters 2"), "{text}");
    (status.queues, status.workers, status.bus.state) = (Vec::new(), Vec::new(), BusHealth::Away);
    status.bus.dead_letters = None;
    status_gauges::set(&metrics, &status);
    let text = metrics.render().unwrap();
    assert!(!text.contains("WB:*") && !text.contains("backoff") && text.contains("mshost_bus_connected 0"), "{text}");
    assert!(!text.contains("mshost_dead_letters "), "unknown is not a number: {text}");
}
