//! `amqps://` against real brokers: whom the host trusts, what it shows, what it says when that is not enough.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use mshost_bus::{Bus, BusState, Codec, ConsumerOptions, Job, Payload, Route};
use mshost_bus_amqp::{AmqpBus, AmqpOptions};
use mshost_core::ids::{JobId, WorkerId, WorkerRef};
use mshost_core::metrics::Metrics;
use mshost_tests::broker::Broker;
use mshost_tests::certificate_authority::{Authority, Signed};
use mshost_tests::fixtures;
use mshost_tests::host_process::{HostProcess, HostSite};
use mshost_tests::http_request::{get, post};
use mshost_tests::movie_example::MovieTopology;
use mshost_tests::tls_listener::TlsListener;
use mshost_topology::BusUrl;
use tempfile::TempDir;

/// The longest wait for one condition.
const LIMIT: Duration = Duration::from_secs(60);

/// The user that logs in with a password, and the one that does with a certificate.
const USERS: [(&str, &str); 2] = [("farmer", "pa55:w0rd@/%"), ("client", "unused-b3cause-of-the-certificate")];

/// A broker that takes clients without a certificate and one that does not, with the authority of all certificates.
struct TlsBrokers {
    authority: Authority,
    open: Broker,
    strict: Broker,
    expired: Broker,
}

static BROKERS: LazyLock<TlsBrokers> = LazyLock::new(|| {
    let authority = Authority::new("The brokers' authority");
    let broker = |Signed { certificate, key }, demands_certificate| {
        let client_authority = authority.certificate().to_owned();
        let broker = Broker::start_tls(&TlsListener { certificate, key, client_authority, demands_certificate });
        for (user, password) in USERS {
            broker.ctl(["add_user", user, password]);
            broker.ctl(["set_permissions", user, ".*", ".*", ".*"]);
        }
        broker
    };
    let open = broker(authority.sign(&["localhost", "rabbit.internal"]), false);
    let strict = broker(authority.sign(&["localhost"]), true);
    let expired = broker(authority.sign_expired(&["localhost"]), false);
    TlsBrokers { authority, open, strict, expired }
});

/// A folder with a topology and the files that it names.
struct TlsFolder(TempDir);

impl TlsFolder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    fn write(&self, name: &str, text: &str) {
        write(self.0.path(), name, text);
    }

    /// The bus of a topology with these lines in `[bus]`.
    fn bus(&self, lines: &str) -> AmqpBus {
        let file = self.0.path().join("topology.toml");
        let topology = mshost_topology::parse(&file, &format!("[bus]\n{lines}"), &|_| None);
        let bus = topology.unwrap_or_else(|errors| panic!("{errors}")).bus;
        let BusUrl::Amqp(url) = bus.url else { panic!("no broker: {:?}", bus.url) };
        let options = AmqpOptions {
            url: url.expose().to_owned(),
            tls: bus.tls,
            codec: bus.codec,
            durability: bus.durability,
            absent: bus.absent,
            limits: bus.limits,
            host: "test".into(),
            metrics: Metrics::new().unwrap(),
        };
        let shown = format!("{options:?}");
        let bus = AmqpBus::connect(options).unwrap();
        let shown = format!("{shown} {bus:?}");
        assert!(!shown.contains("pa55") && !shown.contains("PRIVATE"), "{shown}");
        bus
    }

    /// What the bus of a topology with these lines in `[bus]` is or becomes; `wanted` says when it is enough.
    async fn state(&self, lines: &str, wanted: impl FnMut(&BusState) -> bool) -> BusState {
        let bus = self.bus(lines);
        let mut states = bus.state();
        let state = tokio::time::timeout(LIMIT, states.wait_for(wanted)).await;
        let state = state.map(|state| state.unwrap().clone()).unwrap_or_else(|_| panic!("still {:?}", bus.state()));
        bus.close().await;
        state
    }

    async fn connects(&self, lines: &str) {
        self.state(lines, |state| *state == BusState::Connected).await;
    }

    /// Why no connection comes about.
    async fn error(&self, lines: &str) -> String {
        let is_tried = |state: &BusState| matches!(state, BusState::Away { error } if !error.contains("first time"));
        match self.state(lines, |state| *state == BusState::Connected || is_tried(state)).await {
            BusState::Away { error } => {
                assert!(!error.contains("pa55") && !error.contains("guess"), "{error}");
                error
            }
            other => panic!("{other:?}"),
        }
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(folder.join(name), text).unwrap();
    std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn url(user: &str, broker: &Broker) -> String {
    format!("url = \"amqps://{user}localhost:{}\"\n", broker.tls_addr().port())
}

const CA: &str = "ca_file = \"ca.pem\"\n";
const PASSWORD: &str = "password_file = \"password\"\n";
const CLIENT: &str = "cert_file = \"client.pem\"\nkey_file = \"client.key\"\n";

/// With the authority, a password and a client certificate.
fn folder() -> TlsFolder {
    let client = BROKERS.authority.sign(&["client"]);
    TlsFolder::new(&[
        ("ca.pem", BROKERS.authority.certificate()),
        ("password", &format!("{}\n", USERS[0].1)),
        ("client.pem", &client.certificate),
        ("client.key", &client.key),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn trusts_the_authorities_of_the_file_and_no_others() {
    let folder = folder();
    let url = url("guest:guest@", &BROKERS.open);
    folder.connects(&format!("{url}{CA}")).await;

    let error = folder.error(&url).await;
    assert!(error.contains("no authority that this machine trusts") && error.contains("set `ca_file`"), "{error}");

    folder.write("ca.pem", Authority::new("Somebody else").certificate());
    let error = folder.error(&format!("{url}{CA}")).await;
    assert!(error.contains("no authority of `ca_file` in [bus] has signed its certificate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn takes_the_password_from_a_file() {
    let folder = folder();
    let lines = url("farmer@", &BROKERS.open) + CA + PASSWORD;
    folder.connects(&lines).await;
    folder.write("password", "a-wrong-guess");
    let error = folder.error(&lines).await;
    assert!(error.contains("it refuses the login of user \"farmer\"") && error.contains("`password_file`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shows_its_certificate_where_the_broker_wants_one() {
    let folder = folder();
    let with_password = url("farmer@", &BROKERS.strict) + CA + PASSWORD;
    folder.connects(&(with_password.clone() + CLIENT)).await;
    let error = folder.error(&with_password).await;
    assert!(error.contains("set `cert_file` and `key_file` in [bus]"), "{error}");

    let stranger = Authority::new("Somebody else").sign(&["client"]);
    folder.write("client.pem", &stranger.certificate);
    folder.write("client.key", &stranger.key);
    let error = folder.error(&(with_password + CLIENT)).await;
    assert!(error.contains("the certificate of `cert_file` in [bus]"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_in_by_its_certificate_where_there_is_no_password() {
    let folder = folder();
    let lines = url("", &BROKERS.strict) + CA + CLIENT;
    folder.connects(&lines).await;
    let unknown = BROKERS.authority.sign(&["nobody"]);
    folder.write("client.pem", &unknown.certificate);
    folder.write("client.key", &unknown.key);
    let error = folder.error(&lines).await;
    assert!(error.contains("it refuses the login of the client certificate of `cert_file`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_the_broker_s_name_and_dates() {
    let folder = folder();
    let by_address = format!("url = \"amqps://guest:guest@{}\"\n{CA}", BROKERS.open.tls_addr());
    let error = folder.error(&by_address).await;
    assert!(error.contains("its certificate is for another name") && error.contains("`server_name`"), "{error}");
    folder.connects(&(by_address + "server_name = \"rabbit.internal\"\n")).await;

    let error = folder.error(&(url("guest:guest@", &BROKERS.expired) + CA)).await;
    assert!(error.contains("its certificate is no longer valid; renew it on the broker"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn says_when_only_one_side_speaks_tls() {
    let folder = folder();
    let error = folder.error(&format!("url = \"amqps://guest:guest@{}\"\n{CA}", BROKERS.open.addr())).await;
    assert!(error.contains("it does not speak TLS on this port"), "{error}");
    let error = folder.error(&format!("url = \"amqp://guest:guest@{}\"\n", BROKERS.open.tls_addr())).await;
    assert!(error.contains("write `amqps://`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_trying_while_it_does_not_trust_the_broker() {
    let world = &*BROKERS;
    let folder = folder();
    folder.write("ca.pem", Authority::new("Somebody else").certificate());
    let attempts = AtomicU32::new(0);
    let is_retried = |state: &BusState| {
        matches!(state, BusState::Away { error } if error.contains("ca_file"))
            && attempts.fetch_add(1, Ordering::Relaxed) >= 2
    };
    folder.state(&(url("guest:guest@", &world.open) + CA), is_retried).await;
}

/// How many jobs are accepted before the broker is killed, and again after.
const BEFORE_AND_AFTER: u32 = 100;

/// A broker that is killed and comes back is connected to again, over TLS, and what it had accepted is delivered.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_and_restarted_loses_nothing() {
    let authority = Authority::new("The brokers' authority");
    let Signed { certificate, key } = authority.sign(&["localhost"]);
    let client_authority = authority.certificate().to_owned();
    let listener = TlsListener { certificate, key, client_authority, demands_certificate: false };
    let mut broker = Broker::start_tls(&listener);
    let folder = TlsFolder::new(&[("ca.pem", authority.certificate())]);
    let lines = format!("{}{CA}send_timeout = \"120s\"\n", url("guest:guest@", &broker));
    let bus = Arc::new(folder.bus(&lines));
    let worker = WorkerRef::from(WorkerId::new("T:1460306476102").unwrap());
    let mut consumer = patient("join", bus.join(&worker, ConsumerOptions::new(8))).await.unwrap();

    let (accepted, count) = tokio::sync::watch::channel(0);
    let sender = {
        let bus = Arc::clone(&bus);
        tokio::spawn(async move {
            // It ends when nobody counts any more.
            while !accepted.is_closed() {
                let number = *accepted.borrow();
                bus.send(job(number)).await.unwrap();
                accepted.send_replace(number + 1);
            }
            accepted.send_replace(0)
        })
    };
    let fault = tokio::spawn(async move {
        let mut count = count;
        patient("jobs before", count.wait_for(|count| *count >= BEFORE_AND_AFTER)).await.unwrap();
        broker.kill();
        broker.restart();
        let enough = *count.borrow() + BEFORE_AND_AFTER;
        patient("jobs after", count.wait_for(|count| *count >= enough)).await.unwrap();
        broker
    });
    let mut seen = BTreeSet::new();
    let mut accepted = None;
    tokio::pin!(sender);
    while accepted.is_none_or(|accepted| seen.len() < accepted as usize) {
        tokio::select! {
            ended = &mut sender, if accepted.is_none() => accepted = Some(ended.unwrap()),
            delivery = patient("a job", consumer.next()) => {
                let delivery = delivery.unwrap();
                let number: u32 = delivery.job.payload.decode().unwrap();
                assert!(seen.insert(number) || delivery.redelivered, "job {number} came again without saying so");
                // Where this fails the job comes again.
                let _ = delivery.ack().await;
            }
        }
    }
    assert!(seen.into_iter().eq(0..accepted.unwrap()));
    let _broker = fault.await.unwrap();
    bus.close().await;
}

/// A broker may have to start in it.
async fn patient<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(2 * LIMIT, future).await.unwrap_or_else(|_| panic!("{what}: not within {:?}", 2 * LIMIT))
}

fn job(number: u32) -> Job {
    let id = JobId::new(&format!("J{number}")).unwrap();
    let sender = WorkerRef::from(WorkerId::new("S:1460306476103").unwrap());
    Job {
        correlation: id.clone(),
        id,
        route: Route::parse(["T:*"]).unwrap(),
        origin: sender.clone(),
        sender,
        attempt: 1,
        deadline: None,
        payload: Payload::encode(Codec::default(), &number).unwrap(),
    }
}

/// The real binary, a job through the broker and back, and not a word of what is secret anywhere.
#[test]
fn a_host_works_over_tls_and_keeps_its_secrets() {
    let world = &*BROKERS;
    let site = HostSite::new();
    for name in ["rest", "pilot", "db"] {
        site.plugin(&fixtures::example(name));
    }
    let client = world.authority.sign(&["client"]);
    write(site.path(), "ca.pem", world.authority.certificate());
    write(site.path(), "password", USERS[0].1);
    write(site.path(), "client.pem", &client.certificate);
    write(site.path(), "client.key", &client.key);
    let text = MovieTopology::default().text();
    let bus = format!("{}{CA}{PASSWORD}{CLIENT}", url("farmer@", &world.strict));
    site.topology(&text.replace("url = \"embedded\"\n", &bus));
    let mut host = HostProcess::start(site, &[("RUST_LOG", "trace")]);
    let rest = host.http("WA");
    mshost_tests::wait::until("a movie", LIMIT, || {
        post(rest, "/movies/", r#"{"title": "Stalker", "year": 1979}"#).ok().filter(|answer| answer.status == 201)
    });
    assert_eq!(get(rest, "/movies/").unwrap().status, 200, "{}", host.log_text());

    // A wrong password and a broken key while it runs: what the log then says must hold none of them either.
    write(host.site.path(), "password", "pa55-that-is-wrong\nsecond line");
    write(host.site.path(), "client.key", &client.key.replace("BEGIN", "BEGUN"));
    host.until_log(&["there is no private key in the file of `key_file`"]);

    let api = ["/api/topology", "/metrics", "/readyz"].map(|path| host.ask(path).body).join("\n");
    assert!(host.stop().success(), "{}", host.log_text());
    let shown = host.log_text() + &api;
    let escaped = "%70%61%35%35";
    let key_line = client.key.lines().nth(1).unwrap();
    for secret in ["pa55", escaped, key_line] {
        assert!(!shown.contains(secret), "{}", shown.lines().find(|line| line.contains(secret)).unwrap());
    }
}
