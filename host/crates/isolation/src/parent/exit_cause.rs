//! Cause of a child's exit, in plain words.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use mshost_topology::{Isolation, format_size};

/// The message of Rust's allocation failure before it aborts.
pub(super) const OUT_OF_MEMORY: &str = "memory allocation of ";

/// The cause of an exit that the host had not asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExitCause {
    Signal,
    Exit,
    Memory,
    CpuTime,
    Stuck,
}

impl ExitCause {
    /// The label `cause` of the metric.
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

/// The cause of an exit and its message. `last_output` is the last line of standard error that is not of the log.
pub(super) fn explain(status: ExitStatus, isolation: Isolation, last_output: Option<&str>) -> (ExitCause, String) {
    let limits = isolation.limits();
    let (cause, text) = match status.signal() {
        Some(signal) if signal == libc::SIGXCPU => (ExitCause::CpuTime, beyond_cpu_time(limits.cpu_time)),
        Some(signal) if signal == libc::SIGABRT && last_output.is_some_and(|words| words.contains(OUT_OF_MEMORY)) => {
            (ExitCause::Memory, beyond_memory(limits.memory))
        }
        Some(signal) => (ExitCause::Signal, format!("its process was killed by {}", signal_name(signal))),
        None => {
            let code = status.code().unwrap_or_default();
            (ExitCause::Exit, format!("its process ended by itself, with exit status {code}"))
        }
    };
    (cause, with_output(text, last_output))
}

/// The cause and message where the kernel has killed it at the memory limit of its cgroup.
pub(super) fn beyond_cgroup_memory(isolation: Isolation, last_output: Option<&str>) -> (ExitCause, String) {
    let limit = isolation.limits().memory.map(|limit| format!("{}, ", format_size(limit))).unwrap_or_default();
    let text = format!(
        "its process was killed for using more than `limits.memory` ({limit}memory.max: shared memory, files in memory and what it \
         has started count, too)"
    );
    (ExitCause::Memory, with_output(text, last_output))
}

fn with_output(text: String, last_output: Option<&str>) -> String {
    match last_output {
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

    fn explained(raw: i32, limits: ProcessLimits, words: Option<&str>) -> (ExitCause, String) {
        explain(ExitStatus::from_raw(raw), Isolation::Process(limits), words)
    }

    #[test]
    fn each_way_to_end_has_its_words() {
        let none = ProcessLimits::default();
        let limits = ProcessLimits { memory: Some(512 << 20), cpu_time: Some(Duration::from_secs(3_600)), ..none };
        for (raw, limits, words, cause, text) in [
            (libc::SIGSEGV, none, None, ExitCause::Signal, "its process was killed by signal 11 (SIGSEGV)"),
            (0, none, None, ExitCause::Exit, "its process ended by itself, with exit status 0"),
            (
                3 << 8,
                none,
                Some("no"),
                ExitCause::Exit,
                "its process ended by itself, with exit status 3; its last words: no",
            ),
            (
                libc::SIGABRT,
                limits,
                Some("memory allocation of 9 bytes failed"),
                ExitCause::Memory,
                "its process was out of memory (`limits.memory` = 512MiB); its last words: memory allocation of 9 bytes failed",
            ),
            (
                libc::SIGXCPU,
                limits,
                None,
                ExitCause::CpuTime,
                "its process was killed at its limit of 1h of CPU time (`limits.cpu_time`)",
            ),
        ] {
            assert_eq!(explained(raw, limits, words), (cause, text.to_owned()));
        }
    }

    #[test]
    fn a_limit_that_its_cgroup_held_has_words_of_its_own() {
        let limits = ProcessLimits { memory: Some(256 << 20), ..ProcessLimits::default() };
        let (cause, text) = beyond_cgroup_memory(Isolation::Process(limits), Some("so much"));
        assert_eq!(cause, ExitCause::Memory);
        assert_eq!(
            text,
            "its process was killed for using more than `limits.memory` (256MiB, memory.max: shared memory, files in memory and \
             what it has started count, too); its last words: so much"
        );
    }
}
