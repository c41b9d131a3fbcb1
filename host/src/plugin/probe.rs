//! Tries a library in a child process first: what crashes or hangs there does so without us.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use mshost_plugin_api::Manifest;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::error::{LoadError, LoadFailure};
use super::library::Library;
use super::shadow::ShadowCopy;

/// The option of the binary that makes it a probe.
pub const PROBE_OPTION: &str = "--probe";

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Sets another binary than the running one to be the probe: for tests, whose own binary cannot be. The first call counts.
pub fn set_probe_program(program: PathBuf) {
    let _ = PROGRAM.set(program);
}

/// Begins the line that holds the answer; a library's constructors may write to standard output too.
const ANSWER: &str = "mshost-probe: ";

/// The most that a child may write, in bytes.
const MAX_OUTPUT_BYTES: u64 = 4 << 20;

/// Loads the copy in a child process, within `limit`.
///
/// # Errors
/// Why it cannot be loaded: what the child found, or how it died.
pub async fn probe(shadow: &ShadowCopy, limit: Duration) -> Result<Manifest, LoadError> {
    let answer = timeout(limit, ask(shadow.path())).await.unwrap_or(Err(LoadFailure::TimedOut { limit }));
    answer.map_err(|failure| failure.of(shadow.original()))
}

/// What a child process does that is to try a library. Returns its exit code.
#[must_use]
pub fn probe_main(file: &Path) -> i32 {
    let answer = Library::open(file).map(|library| {
        let manifest = library.manifest().clone();
        // Its destructors are part of what is tried.
        library.close();
        manifest
    });
    let Ok(json) = serde_json::to_string(&answer) else { return 2 };
    let written = writeln!(std::io::stdout(), "\n{ANSWER}{json}");
    if written.is_ok() { 0 } else { 2 }
}

async fn ask(library: &Path) -> Result<Manifest, LoadFailure> {
    let start = |error: std::io::Error| LoadFailure::io("start a child process to try it", &error);
    let program = PROGRAM.get().cloned().map_or_else(own_program, Ok).map_err(start)?;
    let mut child = Command::new(program)
        .arg(PROBE_OPTION)
        .arg(library)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(start)?;
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_OUTPUT_BYTES).read_to_end(&mut output).await.map_err(start)?;
    }
    let status = child.wait().await.map_err(start)?;
    if let Some(signal) = status.signal() {
        return Err(LoadFailure::Crashed { signal });
    }
    let output = String::from_utf8_lossy(&output);
    let answer = output.lines().rev().find_map(|line| line.strip_prefix(ANSWER));
    let answer = answer.ok_or_else(|| LoadFailure::Probe(status.to_string()))?;
    serde_json::from_str::<Result<Manifest, LoadFailure>>(answer)
        .map_err(|error| LoadFailure::Probe(error.to_string()))?
}

/// The running binary, even where its file has been replaced since it was started.
fn own_program() -> std::io::Result<PathBuf> {
    let program = PathBuf::from("/proc/self/exe");
    if program.exists() { Ok(program) } else { std::env::current_exe() }
}
