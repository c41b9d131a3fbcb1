//! A private RabbitMQ: own ports, own node name, own cookie, own data in a temporary folder, gone without a trace.
//!
//! Its node registers with an epmd of its own, so any number of brokers run side by side. A janitor process that waits
//! for the end of its standard input kills and removes everything, also when the test process is killed itself.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::seeded_rng::{SeededRng, random_seed};
use crate::tls_listener::TlsListener;
use crate::wait::blocking;

/// Where Debian puts the scripts that take their whole configuration from the environment. The ones in `/usr/sbin`
/// switch to the user `rabbitmq`.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";

/// A busy machine takes several seconds.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Another process can take a port between our choice and our use of it.
const START_ATTEMPTS: u32 = 5;

/// Erlang's schedulers spin while they wait, which costs the tests that run beside them.
const ERL_ARGS: &str = "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none";

/// Kills what the pid files name and removes the folder once standard input ends.
const JANITOR: &str = r#"trap '' INT TERM HUP
read _
for file in "$1"/*.pid; do [ -f "$file" ] && kill -9 "$(cat "$file")"; done 2>/dev/null
for try in 1 2 3 4 5 6 7 8 9 10; do rm -rf "$1" 2>/dev/null && exit; sleep 0.1; done"#;

/// A private RabbitMQ that lives as long as this value. Its methods block; in an async test they need a
/// multi-threaded runtime.
#[derive(Debug)]
pub struct Broker {
    dir: PathBuf,
    port: u16,
    tls_port: u16,
    dist_port: u16,
    epmd_port: u16,
    node: String,
    /// A member of a cluster registers with the epmd of the first.
    epmd: Option<Child>,
    server: Option<Child>,
    janitor: Child,
    janitor_stdin: Option<ChildStdin>,
    vhosts: Mutex<BTreeSet<String>>,
}

impl Broker {
    /// Starts a broker and waits until it takes connections.
    ///
    /// # Panics
    /// Where rabbitmq-server is not installed or does not start; the message says what to do.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// As [`Broker::start`], and listens with TLS at [`Broker::tls_addr`] as well.
    ///
    /// # Panics
    /// As [`Broker::start`].
    #[must_use]
    pub fn start_tls(tls: &TlsListener) -> Self {
        Self::start_with(Some(tls))
    }

    fn start_with(tls: Option<&TlsListener>) -> Self {
        assert!(
            Path::new(SCRIPTS).join("rabbitmq-server").exists(),
            "these tests need RabbitMQ: `apt-get install rabbitmq-server` (or `make test`, which does so); \
             expected {SCRIPTS}/rabbitmq-server"
        );
        blocking(|| {
            let mut last = String::new();
            for _ in 0..START_ATTEMPTS {
                let mut broker = Self::prepare(None);
                if let Some(tls) = tls {
                    tls.write(&broker.dir, broker.tls_addr());
                }
                match broker.launch() {
                    Ok(()) => return broker,
                    Err(log) => last = log,
                }
            }
            panic!("RabbitMQ did not start in {START_ATTEMPTS} attempts; the last one said:\n{last}")
        })
    }

    /// Starts another broker that can become a member of `first`'s cluster. It must not outlive `first`.
    pub(crate) fn start_beside(first: &Self) -> Self {
        blocking(|| {
            let mut broker = Self::prepare(Some(first));
            if let Err(log) = broker.launch() {
                panic!("another RabbitMQ did not start beside {}; it said:\n{log}", first.node);
            }
            broker
        })
    }

    /// Makes it a member of `first`'s cluster; it keeps nothing of what it had.
    pub(crate) fn join(&self, first: &Self) {
        self.ctl(["stop_app"]);
        self.ctl(["join_cluster", &first.node]);
        self.ctl(["start_app"]);
    }

    /// The broker that all tests of one binary share. It goes when the test process ends.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        blocking(|| SHARED.get_or_init(Self::start))
    }

    /// The URL to connect to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@{}", self.addr())
    }

    /// The URL of a virtual host of this name, which is made where it is not there yet.
    #[must_use]
    pub fn url_of(&self, vhost: &str) -> String {
        self.urls_of([vhost.to_owned()]).concat()
    }

    /// The URLs of several virtual hosts, made by one call where they are not there yet: each call takes a second.
    #[must_use]
    pub fn urls_of<const N: usize>(&self, vhosts: [String; N]) -> [String; N] {
        let mut known = self.vhosts.lock().unwrap();
        let new: Vec<_> = vhosts.iter().filter(|vhost| known.insert((*vhost).clone())).collect();
        if !new.is_empty() {
            let names = new.iter().map(|vhost| format!("<<\"{vhost}\">>")).collect::<Vec<_>>().join(",");
            let all = "<<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"tests\">>";
            self.ctl([
                "eval",
                &format!(
                    "[begin ok = rabbit_vhost:add(V, <<\"tests\">>), \
                     ok = rabbit_auth_backend_internal:set_permissions(<<\"guest\">>, V, {all}) end || V <- [{names}]]."
                ),
            ]);
        }
        vhosts.map(|vhost| format!("{}/{vhost}", self.url()))
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Where it listens with TLS.
    #[must_use]
    pub fn tls_addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.tls_port))
    }

    /// SIGKILL. What it had confirmed is on disk.
    pub fn kill(&mut self) {
        let _ = fs::remove_file(self.dir.join("server.pid"));
        if let Some(mut server) = self.server.take() {
            blocking(|| {
                let _ = server.kill();
                let _ = server.wait();
            });
        }
    }

    /// Starts it again, with the data and on the port that it had.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn restart(&mut self) {
        self.kill();
        if let Err(log) = blocking(|| self.launch()) {
            panic!("RabbitMQ did not start again; it said:\n{log}");
        }
    }

    /// SIGSTOP: its sockets stay open, and nothing answers.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Runs `rabbitmqctl` and returns what it prints.
    ///
    /// # Panics
    /// Where the command fails.
    pub fn ctl<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let args: Vec<String> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let output = blocking(|| self.script("rabbitmqctl").arg("--quiet").args(&args).output()).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        assert!(
            output.status.success(),
            "rabbitmqctl {args:?} failed: {}\n{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Raises or clears the memory alarm: the broker reads nothing more from connections that publish.
    pub fn set_memory_alarm(&self, on: bool) {
        self.ctl([
            "eval",
            if on {
                "rabbit_alarm:set_alarm({{resource_limit, memory, node()}, []})."
            } else {
                "rabbit_alarm:clear_alarm({resource_limit, memory, node()})."
            },
        ]);
    }

    /// Writes the configuration, starts epmd and the janitor. Beside another broker it shares that one's epmd and secret.
    fn prepare(beside: Option<&Self>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::Builder::new().prefix("mshost-rabbitmq-").tempdir().unwrap().keep();
        // `$HOME/.erlang.cookie` is the secret of this node and its tools; nobody else can read it.
        let mut cookie = fs::OpenOptions::new();
        let mut cookie = cookie.write(true).create_new(true).mode(0o600).open(dir.join(".erlang.cookie")).unwrap();
        let secret = beside.map_or(&dir, |broker| &broker.dir);
        let name = secret.file_name().unwrap().to_string_lossy().into_owned();
        cookie.write_all(name.replace('-', "").as_bytes()).unwrap();
        fs::write(dir.join("enabled_plugins"), "[].").unwrap();
        fs::write(dir.join("rabbitmq-env.conf"), "").unwrap();
        fs::write(dir.join("advanced.config"), "[].").unwrap();

        let mut janitor = Command::new("sh")
            .args(["-c", JANITOR, "janitor"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C reaches the whole group of the tests.
            .process_group(0)
            .spawn()
            .unwrap();
        let janitor_stdin = janitor.stdin.take();
        let [port, tls_port, dist_port, epmd_port] = free_ports();
        let epmd_port = beside.map_or(epmd_port, |broker| broker.epmd_port);
        let epmd = beside.is_none().then(|| start_epmd(&dir, epmd_port));
        let node = format!("t{}-{}@localhost", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let vhosts = Mutex::default();
        Self { dir, port, tls_port, dist_port, epmd_port, node, epmd, server: None, janitor, janitor_stdin, vhosts }
    }

    fn launch(&mut self) -> Result<(), String> {
        let log_path = self.dir.join("server.log");
        let log = fs::File::create(&log_path).unwrap();
        let server = self
            .script("rabbitmq-server")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        // The script becomes the Erlang VM by exec, so this is the VM's pid.
        fs::write(self.dir.join("server.pid"), server.id().to_string()).unwrap();
        let server = self.server.insert(server);
        let deadline = Instant::now() + START_TIMEOUT;
        let tls = self.dir.join("rabbitmq.conf").exists().then(|| SocketAddr::from(([127, 0, 0, 1], self.tls_port)));
        while !(answers(SocketAddr::from(([127, 0, 0, 1], self.port)))
            && tls.is_none_or(|addr| TcpStream::connect(addr).is_ok()))
        {
            let ended = server.try_wait().unwrap();
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(&log_path).unwrap_or_default();
                return Err(format!("(exit status: {ended:?})\n{log}"));
            }
            // The pause between two looks.
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(())
    }

    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(Path::new(SCRIPTS).join(name));
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("LANG", "C.UTF-8")
            .env("HOME", &self.dir)
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            // With this the script becomes the VM, instead of waiting for it.
            .env("RUNNING_UNDER_SYSTEMD", "1")
            .env("RABBITMQ_NODENAME", &self.node)
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("RABBITMQ_CONF_ENV_FILE", self.dir.join("rabbitmq-env.conf"))
            .env("RABBITMQ_CONFIG_FILE", self.dir.join("rabbitmq"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", self.dir.join("advanced.config"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", self.dir.join("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", self.dir.join("data"))
            .env("RABBITMQ_LOG_BASE", self.dir.join("log"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_PID_FILE", self.dir.join("rabbit"))
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", ERL_ARGS);
        command
    }

    fn signal(&self, name: &str) {
        let server = self.server.as_ref().expect("the broker has been killed");
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", server.id())]).status().unwrap();
        assert!(status.success(), "cannot send SIG{name} to the broker");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        if let Some(epmd) = &mut self.epmd {
            let _ = epmd.kill();
            let _ = epmd.wait();
        }
        // Both pids are free for others to use from here on.
        let _ = fs::remove_file(self.dir.join("epmd.pid"));
        drop(self.janitor_stdin.take());
        let _ = self.janitor.wait();
    }
}

fn start_epmd(dir: &Path, port: u16) -> Child {
    let epmd = Command::new("epmd")
        .args(["-address", "127.0.0.1", "-port", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    fs::write(dir.join("epmd.pid"), epmd.id().to_string()).unwrap();
    epmd
}

/// Ports that nobody listens on.
/// Below those that Linux gives to whoever connects: a broker must find its ports free when it starts again, too.
fn free_ports() -> [u16; 4] {
    let mut rng = SeededRng::new(random_seed());
    let mut listen = || loop {
        let port = rng.within(10_000..32_768) as u16;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            break listener;
        }
    };
    let listeners = [(); 4].map(|()| listen());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// Whether somebody there speaks AMQP: to a client's greeting it says something.
fn answers(addr: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&addr, Duration::from_secs(1)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    stream.write_all(b"AMQP\0\0\x09\x01").is_ok() && matches!(stream.read(&mut [0]), Ok(1))
}
