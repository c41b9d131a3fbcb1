//! A host of the movie example, in a folder of its own.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{BenchResult, PATH};

/// How long a host may take until it serves.
const START: Duration = Duration::from_secs(30);

const PLUGINS: [&str; 3] = ["rest", "pilot", "db"];

/// A running host. Dropping it ends it.
pub struct BenchHost {
    child: Child,
    folder: TempDir,
    bus: String,
    pub http: SocketAddr,
    admin: SocketAddr,
}

/// What the topology says of the pilots.
#[derive(Clone, Copy)]
pub struct Pilots {
    pub instances: usize,
    pub timeout_seconds: u64,
}

impl Default for Pilots {
    fn default() -> Self {
        Self { instances: 1, timeout_seconds: 30 }
    }
}

impl BenchHost {
    /// Starts the release build with a bus of this URL, and waits until it serves.
    pub async fn start(bus: &str) -> BenchResult<Self> {
        Self::start_with(bus, &Pilots::default()).await
    }

    /// As [`BenchHost::start`], with other pilots.
    pub async fn start_with(bus: &str, pilots: &Pilots) -> BenchResult<Self> {
        let folder = tempfile::tempdir()?;
        let (http, admin) = (free_address()?, free_address()?);
        std::fs::create_dir(folder.path().join("plugins"))?;
        for plugin in PLUGINS {
            let file = library(plugin);
            std::fs::copy(release().join(&file), folder.path().join("plugins").join(&file))?;
        }
        std::fs::write(folder.path().join("topology.toml"), topology(bus, http, admin, pilots))?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let child = Command::new(release().join("mshost"))
            .args(["--topology", "topology.toml"])
            .current_dir(folder.path())
            .env_remove("BROKER_URL")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| {
                format!("cannot run {}: {error}; `make bench` builds it", release().join("mshost").display())
            })?;
        let mut host = Self { child, folder, bus: bus.to_owned(), http, admin };
        host.wait_until_it_serves().await?;
        Ok(host)
    }

    async fn wait_until_it_serves(&mut self) -> BenchResult {
        let deadline = Instant::now() + START;
        while self.get(PATH).await.is_err() {
            if self.child.try_wait()?.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.folder.path().join("log"))?;
                return Err(format!("the host does not serve:\n{log}").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// The body of a 200.
    pub async fn get(&self, path: &str) -> BenchResult<String> {
        get(self.http, path).await
    }

    /// `/metrics`.
    pub async fn metrics(&self) -> BenchResult<String> {
        get(self.admin, "/metrics").await
    }

    /// `/api/topology`.
    pub async fn topology(&self) -> BenchResult<Value> {
        Ok(serde_json::from_str(&get(self.admin, "/api/topology").await?)?)
    }

    /// Saves another topology, as editors do.
    pub fn save(&self, pilots: &Pilots) -> BenchResult {
        let text = topology(&self.bus, self.http, self.admin, pilots);
        let temporary = self.folder.path().join("topology.toml~");
        std::fs::write(&temporary, text)?;
        Ok(std::fs::rename(temporary, self.folder.path().join("topology.toml"))?)
    }

    /// Where its plugins are.
    pub fn plugins(&self) -> PathBuf {
        self.folder.path().join("plugins")
    }
}

impl Drop for BenchHost {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The file name of a plugin.
pub fn library(plugin: &str) -> String {
    format!("lib{plugin}.so")
}

/// Where cargo puts release builds: next to this benchmark's own folder, `target/release/deps`.
pub fn release() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let target = own.ancestors().nth(3).unwrap_or(Path::new("target"));
    target.join("release")
}

async fn get(address: SocketAddr, path: &str) -> BenchResult<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    match response.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => Err(response.into()),
    }
}

/// Free now; the kernel does not give it to another soon.
fn free_address() -> BenchResult<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn topology(bus: &str, http: SocketAddr, admin: SocketAddr, pilots: &Pilots) -> String {
    let Pilots { instances, timeout_seconds } = pilots;
    format!(
        r#"
        [host]
        admin = "{admin}"
        [bus]
        url = "{bus}"
        [[worker]]
        type = "WA"
        plugin = "rest"
        concurrency = 512
        listen = {{ http = "{http}" }}
        [[worker]]
        type = "WD"
        plugin = "pilot"
        concurrency = 64
        instances = {instances}
        timeout = "{timeout_seconds}s"
        [[worker]]
        type = "WB"
        plugin = "db"
        concurrency = 16
        [worker.config]
        path = "movies.db"
        "#
    )
}
