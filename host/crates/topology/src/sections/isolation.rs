//! Reads `isolation`, `limits` and `sandbox` of a `[[worker]]`.

use crate::config::{Isolation, ProcessLimits, Sandbox};
use crate::keys::{isolation, worker};
use crate::table_reader::TableReader;
use crate::value_node::ValueNode;

/// Reads the three keys. `limits` and `sandbox` are refused for a worker that runs on threads of the host.
pub(crate) fn read(table: &mut TableReader<'_, '_>) -> (Isolation, Option<Sandbox>) {
    let is_stated = table.node(&worker::ISOLATION).is_some();
    let is_process = table.find(&worker::ISOLATION);
    // Where `isolation` cannot be read, that is the one error.
    let may_have_them = is_process == Some(true) || (is_stated && is_process.is_none());
    let (limits, sandbox) = if may_have_them {
        (table.table(&worker::LIMITS).map(read_limits), table.table(&worker::SANDBOX).map(read_sandbox))
    } else {
        let limits = table.node(&worker::LIMITS).and_then(|node| misplaced(&node, "`limits` are"));
        let sandbox = table.node(&worker::SANDBOX).and_then(|node| misplaced(&node, "a `sandbox` is"));
        (limits, sandbox)
    };
    if is_process == Some(true) {
        (Isolation::Process(limits.unwrap_or_default()), sandbox)
    } else {
        (Isolation::Thread, None)
    }
}

fn misplaced<T>(node: &ValueNode<'_, '_>, what: &str) -> Option<T> {
    let help =
        Some("add `isolation = \"process\"`: on threads of the host all workers share what it may use".to_owned());
    node.refuse(format!("{what} for a worker in a process of its own"), "this one runs on threads of the host", help)
}

fn read_limits(mut table: TableReader<'_, '_>) -> ProcessLimits {
    let limits = ProcessLimits {
        memory: table.find(&isolation::MEMORY),
        cpu_time: table.find(&isolation::CPU_TIME),
        open_files: table.find(&isolation::OPEN_FILES),
        // In range by its kind.
        milli_cpus: table.find(&isolation::CPUS).map(|cpus| (cpus * 1_000.0).round() as u32),
        tasks: table.find(&isolation::TASKS),
    };
    table.finish();
    limits
}

fn read_sandbox(mut table: TableReader<'_, '_>) -> Sandbox {
    let sandbox = Sandbox {
        write: table.find(&isolation::WRITE).unwrap_or_default(),
        connect: table.find(&isolation::CONNECT).unwrap_or_default(),
        bind: table.find(&isolation::BIND).unwrap_or_default(),
    };
    table.finish();
    sandbox
}
