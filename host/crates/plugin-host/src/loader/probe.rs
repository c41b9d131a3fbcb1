//! Probe: loads a library in a child process first, so that a crash or hang there does not reach the host.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use futures::future::join;
use mshost_plugin_api::Manifest;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

use super::library::{Library, ThreadKeys};
use super::load_error::{LoadError, LoadFailure};
use super::shadow_copy::ShadowCopy;

/// The command-line option that makes the binary a probe.
pub const PROBE_OPTION: &str = "--probe";

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Sets the binary that is started as the probe in place of the running one: for tests, whose own cannot be. The first call
/// counts.
pub fn set_probe_program(program: PathBuf) {
    let _ = PROGRAM.set(program);
}

/// Prefix of the line that holds the answer; constructors of the library may write to standard output, too.
const ANSWER: &str = "mshost-probe: ";

/// The most that is kept of what a child writes to its standard output and its standard error, in bytes.
const MAX_OUTPUT_BYTES: usize = 4 << 20;
const MAX_ERROR_BYTES: usize = 4 << 10;

/// The most of its standard error that is shown, in characters.
const MAX_SHOWN: usize = 240;

/// How long to read on once the child has exited.
const READ_AFTER_EXIT: Duration = Duration::from_millis(500);

/// Loads the copy in a child process, within `limit`.
///
/// # Errors
/// Why it cannot be loaded: what the child found, or how it died.
pub async fn probe(shadow: &ShadowCopy, limit: Duration) -> Result<Manifest, LoadError> {
    let answer = timeout(limit, ask(shadow.path())).await.unwrap_or(Err(LoadFailure::TimedOut { limit }));
    answer.map_err(|failure| failure.of(shadow.original()))
}

/// The main function of a probe's process. Returns its exit code.
#[must_use]
pub fn probe_main(file: &Path) -> i32 {
    let answer = Library::open(file).map(|library| {
        let manifest = library.manifest().clone();
        // Its destructors are part of what is tried.
        library.close(&ThreadKeys::default());
        manifest
    });
    let Ok(json) = serde_json::to_string(&answer) else { return 2 };
    let written = writeln!(std::io::stdout(), "\n{ANSWER}{json}");
    if written.is_ok() { 0 } else { 2 }
}

async fn ask(library: &Path) -> Result<Manifest, LoadFailure> {
    let start = |error: std::io::Error| LoadFailure::io("start a child process to try it", &error);
    let program = program().map_err(start)?;
    let mut child = Command::new(program)
        .arg(PROBE_OPTION)
        .arg(library)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(start)?;
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let status = {
        let reading = join(read(stdout, &mut output, MAX_OUTPUT_BYTES), read(stderr, &mut errors, MAX_ERROR_BYTES));
        tokio::pin!(reading);
        tokio::select! {
            _ = &mut reading => child.wait().await,
            status = child.wait() => {
                // What it wrote is in the pipes already. A process that the library has started may keep them open.
                let _ = timeout(READ_AFTER_EXIT, reading).await;
                status
            }
        }
    };
    let status = status.map_err(start)?;
    let said = summary(&errors);
    if let Some(signal) = status.signal() {
        return Err(LoadFailure::Crashed { signal, said });
    }
    let output = String::from_utf8_lossy(&output);
    let answer = output.lines().rev().find_map(|line| line.strip_prefix(ANSWER));
    match answer.map(serde_json::from_str::<Result<Manifest, LoadFailure>>) {
        Some(Ok(answer)) => answer,
        Some(Err(_)) | None => Err(LoadFailure::Probe { status: status.to_string(), said }),
    }
}

/// Reads to the end, and keeps the first `limit` bytes: a writer whose pipe is closed might panic. Cancel safe.
async fn read(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>, limit: usize) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = [0; 8 * 1024];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        let room = limit.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
}

/// The beginning of a text as one line, up to where a panic of Rust's begins to speak of backtraces.
fn summary(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let is_trace = |line: &&str| line.starts_with("note: run with `RUST_BACKTRACE") || *line == "stack backtrace:";
    let lines = text.lines().take_while(|line| !is_trace(line));
    let line = lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ");
    line.chars().take(MAX_SHOWN).collect()
}

/// The binary that is started as a probe, or as the process of a worker.
pub fn program() -> std::io::Result<PathBuf> {
    PROGRAM.get().cloned().map_or_else(own_program, Ok)
}

/// The running binary, even where its file has been replaced since it was started.
fn own_program() -> std::io::Result<PathBuf> {
    let program = PathBuf::from("/proc/self/exe");
    if program.exists() { Ok(program) } else { std::env::current_exe() }
}
