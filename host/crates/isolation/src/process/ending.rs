//! Why a process has ended, in plain words.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use mshost_topology::{Isolation, format_size};

/// What Rust's allocation failure says before it aborts.
pub(super) const OUT_OF_MEMORY: &str = "memory allocation of ";

/// How a process ended that was not told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Signal,
    Exit,
    Memory,
    CpuTime,
    Stuck,
}

impl Cause {
    /// As a metric's label.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Exit => "exit",
            Self::Memory => "memory",
            Self::CpuTime => "cpu_time",
            Self::Stuck => "stuck",
        }
    }
}

/// Says how it ended. `last_words` is what it wrote last to standard error that is not of its log.
pub(super) fn explain(status: ExitStatus, isolation: Isolation, last_words: Option<&str>) -> (Cause, String) {
    let limits = isolation.limits();
    let (cause, text) = match status.signal() {
        Some(signal) if signal == libc::SIGXCPU => (Cause::CpuTime, beyond_cpu_time(limits.cpu_time)),
        Some(signal) if signal == libc::SIGABRT && last_words.is_some_and(|words| words.contains(OUT_OF_MEMORY)) => {
            (Cause::Memory, beyond_memory(limits.memory))
        }
        Some(signal) => (Cause::Signal, format!("its process was killed by {}", signal_name(signal))),
        None => {
            let code = status.code().unwrap_or_default();
            (Cause::Exit, format!("its process ended by itself, with exit status {code}"))
        }
    };
    (cause, with_words(text, last_words))
}

/// Says that the kernel has killed it at the limit of its cgroup.
pub(super) fn beyond_cgroup_memory(isolation: Isolation, last_words: Option<&str>) -> (Cause, String) {
    let limit = isolation.limits().memory.map(|limit| format!("{}, ", format_size(limit))).unwrap_or_default();
    let text = format!(
        "its process was killed for using more than `limits.memory` ({limit}memory.max: shared memory, files in memory and what it \
         has started count, too)"
    );
    (Cause::Memory, with_words(text, last_words))
}

fn with_words(text: String, last_words: Option<&str>) -> String {
    match last_words {
        Some(words) => format!("{text}; its last words: {words}"),
        None => text,
    }
}

fn beyond_cpu_time(limit: Option<Duration>) -> String {
    let limit = limit.map(|limit| format!(" of {}", humantime::format_duration(limit))).unwrap_or_default();
    format!("its process was killed at its limit{limit} of CPU time (`limits.cpu_time`)")
}

fn beyond_memory(limit: Option<u64>) -> String {
    match limit {
        Some(limit) => format!("its process was out of memory (`limits.memory` = {})", format_size(limit)),
        None => "its process was out of memory".to_owned(),
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGHUP => "SIGHUP",
        libc::SIGILL => "SIGILL",
        libc::SIGINT => "SIGINT",
        libc::SIGKILL => "SIGKILL",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS",
        libc::SIGTERM => "SIGTERM",
        libc::SIGTRAP => "SIGTRAP",
        other => return format!("signal {other}"),
    };
    format!("signal {signal} ({name})")
}

#[cfg(test)]
mod tests {
    use mshost_topology::ProcessLimits;

    use super::*;

    fn said(raw: i32, limits: ProcessLimits, words: Option<&str>) -> (Cause, String) {
        explain(ExitStatus::from_raw(raw), Isolation::Process(limits), words)
    }

    #[test]
    fn each_way_to_end_has_its_words() {
        let none = ProcessLimits::default();
        let limits = ProcessLimits { memory: Some(512 << 20), cpu_time: Some(Duration::from_secs(3_600)), ..none };
        for (raw, limits, words, cause, text) in [
            (libc::SIGSEGV, none, None, Cause::Signal, "its process was killed by signal 11 (SIGSEGV)"),
            (0, none, None, Cause::Exit, "its process ended by itself, with exit status 0"),
            (
                3 << 8,
                none,
                Some("no"),
                Cause::Exit,
                "its process ended by itself, with exit status 3; its last words: no",
            ),
            (
                libc::SIGABRT,
                limits,
                Some("memory allocation of 9 bytes failed"),
                Cause::Memory,
                "its process was out of memory (`limits.memory` = 512MiB); its last words: memory allocation of 9 bytes failed",
            ),
            (
                libc::SIGXCPU,
                limits,
                None,
                Cause::CpuTime,
                "its process was killed at its limit of 1h of CPU time (`limits.cpu_time`)",
            ),
        ] {
            assert_eq!(said(raw, limits, words), (cause, text.to_owned()));
        }
    }

    #[test]
    fn a_limit_that_its_cgroup_held_has_words_of_its_own() {
        let limits = ProcessLimits { memory: Some(256 << 20), ..ProcessLimits::default() };
        let (cause, text) = beyond_cgroup_memory(Isolation::Process(limits), Some("so much"));
        assert_eq!(cause, Cause::Memory);
        assert_eq!(
            text,
            "its process was killed for using more than `limits.memory` (256MiB, memory.max: shared memory, files in memory and \
             what it has started count, too); its last words: so much"
        );
    }
}
