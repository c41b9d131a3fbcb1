//! The real `mshost`, in a folder of its own: started, watched through its log and its admin server, stopped.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::http_request::{self, HttpAnswer};
use crate::wait::{poll, until};

/// How long a test waits for anything before it fails.
pub const LIMIT: Duration = Duration::from_secs(30);

/// A folder with `topology.toml` and `plugins/`, as a user has one.
#[derive(Debug)]
pub struct HostSite {
    folder: TempDir,
}

impl HostSite {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("plugins")).expect("a folder for plugins");
        Self { folder }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes `topology.toml` as editors do: whole, in place of the old.
    pub fn topology(&self, text: &str) {
        self.replace("topology.toml", text.as_bytes());
    }

    /// Puts a file into `plugins/`, whole, in place of any old one.
    pub fn plugin(&self, file: &Path) {
        let name = file.file_name().and_then(|name| name.to_str()).expect("a file name");
        let bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.plugin_bytes(name, &bytes);
    }

    /// Puts these bytes into `plugins/NAME`, whole, in place of any old file.
    pub fn plugin_bytes(&self, name: &str, bytes: &[u8]) {
        self.replace(&format!("plugins/{name}"), bytes);
    }

    fn replace(&self, name: &str, bytes: &[u8]) {
        let target = self.path().join(name);
        let temporary = target.with_extension("new.tmp");
        std::fs::write(&temporary, bytes).expect("a file");
        std::fs::rename(&temporary, &target).expect("a rename");
    }
}

impl Default for HostSite {
    fn default() -> Self {
        Self::new()
    }
}

/// A running `mshost`. Killed when dropped.
#[derive(Debug)]
pub struct HostProcess {
    child: Child,
    log: LogLines,
    admin: SocketAddr,
    /// Where it runs.
    pub site: HostSite,
}

impl HostProcess {
    /// Starts the host in `site` and waits for its admin server. The topology must say `admin = "127.0.0.1:0"`.
    #[must_use]
    pub fn start(site: HostSite, environment: &[(&str, &str)]) -> Self {
        let (child, log, admin) = launch(&site, environment);
        Self { child, log, admin, site }
    }

    /// SIGKILL, as a crash or the kernel does it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Kills it where it still runs, and starts another where it was. The log begins anew.
    pub fn restart(&mut self, environment: &[(&str, &str)]) {
        self.kill();
        (self.child, self.log, self.admin) = launch(&self.site, environment);
    }

    /// Where its admin server listens.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `GET` from the admin server.
    #[must_use]
    pub fn ask(&self, path: &str) -> HttpAnswer {
        http_request::get(self.admin, path).unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.log_text()))
    }

    /// `/api/topology`.
    #[must_use]
    pub fn topology(&self) -> Value {
        self.ask("/api/topology").json()
    }

    /// Waits until `/api/topology` satisfies a condition, and returns what that gives.
    pub fn until_topology<T>(&self, what: &str, mut condition: impl FnMut(&Value) -> Option<T>) -> T {
        let mut last = Value::Null;
        let found = poll(LIMIT, || {
            last = self.topology();
            condition(&last)
        });
        found.unwrap_or_else(|| panic!("waited in vain for {what}\n{last:#}\n{}", self.log_text()))
    }

    /// Waits until this many workers of a type run.
    pub fn until_running(&self, worker_type: &str, count: usize) {
        self.until_topology(&format!("{count} running {worker_type}"), |topology| {
            (running(topology, worker_type) == count).then_some(())
        });
    }

    /// Where the `http` socket of a worker type listens.
    #[must_use]
    pub fn http(&self, worker_type: &str) -> SocketAddr {
        self.until_topology(&format!("the http address of {worker_type}"), |topology| {
            workers(topology, worker_type).find_map(|worker| worker["addresses"]["http"].as_str()?.parse().ok())
        })
    }

    /// The log so far.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        lines(&self.log)
    }

    /// The log so far, as one text.
    #[must_use]
    pub fn log_text(&self) -> String {
        self.log().join("\n")
    }

    /// Waits for a line of the log with all of these words, and returns it.
    pub fn until_log(&self, words: &[&str]) -> String {
        poll(LIMIT, || self.log().into_iter().find(|line| words.iter().all(|word| line.contains(word))))
            .unwrap_or_else(|| panic!("no line with {words:?} in the log:\n{}", self.log_text()))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("mshost takes a signal");
    }

    /// Waits until it has ended.
    pub fn until_ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let began = Instant::now();
        until("mshost to end", LIMIT, || {
            assert!(began.elapsed() < LIMIT);
            child.try_wait().expect("a child")
        })
    }

    /// SIGTERM, and the status that it ends with.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.until_ended()
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

type LogLines = Arc<Mutex<Vec<String>>>;

fn launch(site: &HostSite, environment: &[(&str, &str)]) -> (Child, LogLines, SocketAddr) {
    let mut command = Command::new(crate::fixtures::mshost_binary());
    command.args(["--topology", "topology.toml"]).current_dir(site.path());
    command.env_remove("BROKER_URL").env_remove("RUST_LOG").envs(environment.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().expect("mshost starts");
    let log = LogLines::default();
    follow(child.stdout.take().expect("piped"), Arc::clone(&log));
    follow(child.stderr.take().expect("piped"), Arc::clone(&log));
    let admin = poll(LIMIT, || {
        if let Some(status) = child.try_wait().expect("a child") {
            panic!("mshost ended with {status}:\n{}", lines(&log).join("\n"));
        }
        lines(&log).iter().find_map(|line| admin_address(line))
    });
    let Some(admin) = admin else {
        // It would outlive the test.
        let _ = child.kill();
        let _ = child.wait();
        panic!("no address of the admin server in the log:\n{}", lines(&log).join("\n"));
    };
    (child, log, admin)
}

/// The workers of a type in `/api/topology`.
pub fn workers<'a>(topology: &'a Value, worker_type: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = topology["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter(move |worker| worker["type"] == worker_type)
}

/// How many workers of a type run.
#[must_use]
pub fn running(topology: &Value, worker_type: &str) -> usize {
    workers(topology, worker_type).filter(|worker| worker["state"] == "running").count()
}

/// A plugin in `/api/topology`.
#[must_use]
pub fn plugin<'a>(topology: &'a Value, name: &str) -> Option<&'a Value> {
    topology["plugins"].as_array()?.iter().find(|plugin| plugin["name"] == name)
}

/// Where the checkout is.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the checkout").to_owned()
}

fn lines(log: &Mutex<Vec<String>>) -> Vec<String> {
    log.lock().expect("not poisoned").clone()
}

fn admin_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("admin server listening address=")?;
    rest.split_whitespace().next()?.parse().ok()
}

fn follow(stream: impl std::io::Read + Send + 'static, log: LogLines) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            log.lock().expect("not poisoned").push(line);
        }
    });
}
