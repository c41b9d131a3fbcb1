//! Resource limits (`setrlimit`) of the child, set by itself before it loads anything: they cannot be raised again.

use std::time::Duration;

use mshost_topology::{Isolation, ProcessLimits};
use rustix::process::{Resource, Rlimit, setrlimit};

/// How much CPU time beyond its limit it may use before SIGKILL, where it does not end at SIGXCPU.
const CPU_GRACE: Duration = Duration::from_secs(5);

pub(super) fn apply(isolation: Isolation) -> Result<(), String> {
    // A core file of every crash would fill the disk.
    set("no core files", Resource::Core, 0, 0)?;
    // Its cgroup enforces the others, and `memory`, too, where it has one.
    let Isolation::Process(ProcessLimits { memory, cpu_time, open_files, .. }) = isolation else { return Ok(()) };
    if let Some(bytes) = memory {
        // Counts writable memory, and not what is only reserved or mapped from files, as RLIMIT_AS does.
        set("`limits.memory`", Resource::Data, bytes, bytes)?;
    }
    if let Some(time) = cpu_time {
        let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        set("`limits.cpu_time`", Resource::Cpu, seconds, seconds + CPU_GRACE.as_secs())?;
    }
    if let Some(files) = open_files {
        set("`limits.open_files`", Resource::Nofile, files, files)?;
    }
    Ok(())
}

fn set(what: &str, resource: Resource, soft: u64, hard: u64) -> Result<(), String> {
    setrlimit(resource, Rlimit { current: Some(soft), maximum: Some(hard) })
        .map_err(|error| format!("cannot set {what}: {error} (is it more than the host itself may use?)"))
}
