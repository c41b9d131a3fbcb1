//! Errors of loading a plugin file, each one line for the user.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A plugin file that was not loaded. What ran before goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {reason}", file.display())]
pub struct LoadError {
    /// The file, as the user knows it.
    pub file: PathBuf,
    /// What is wrong with it, and what to do.
    pub reason: LoadFailure,
}

/// The reason why a plugin file was not loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum LoadFailure {
    /// An operation on the file failed.
    #[error("cannot {action}: {error}")]
    Io {
        /// What was tried.
        action: String,
        /// The message of the operating system.
        error: String,
    },
    /// Not a shared library.
    #[error("expected a shared library, found {0}")]
    NotALibrary(String),
    /// A library of which a part is missing.
    #[error(
        "the file is cut off: its ELF header speaks of {expected} bytes, {found} are there; if it is still being copied, it will be tried again when it is complete"
    )]
    Truncated {
        /// Bytes that the header needs.
        expected: u64,
        /// Bytes in the file.
        found: u64,
    },
    /// A library for other machines.
    #[error("it is built for {found}, and this host needs {expected}")]
    WrongArchitecture {
        /// This host's.
        expected: String,
        /// The file's.
        found: String,
    },
    /// A library that wants to run what is written to the stack.
    #[error(
        "it asks for an executable stack, which would weaken the whole host; link it with `-z noexecstack` (an object made of assembly often lacks a `.note.GNU-stack` section)"
    )]
    ExecutableStack,
    /// It needs a library that is not there.
    #[error(
        "it needs the library `{0}`, which is not on this machine; install the package that has it, or link it statically"
    )]
    MissingLibrary(String),
    /// It needs a newer version of a library that is there.
    #[error(
        "it needs {version} of {library}, which is older on this machine; build it on a system that is as old as this one"
    )]
    OldLibrary {
        /// As in `GLIBC_2.38`.
        version: String,
        /// The library's file.
        library: String,
    },
    /// It needs a symbol that no library defines.
    #[error("it needs the symbol `{0}`, which no library that it is linked with has; link the one that has it")]
    MissingSymbol(String),
    /// The dynamic linker refuses it for another reason.
    #[error("the dynamic loader refuses it: {0}")]
    Open(String),
    /// A library without the symbol of a plugin's root module.
    #[error(
        "it is a library but not an mshost plugin: it has no `export_plugin! {{ … }}` (symbol `{}`)",
        mshost_plugin_api::abi::HEADER_SYMBOL
    )]
    NotAPlugin,
    /// A plugin of another ABI.
    #[error(
        "it was built with mshost-plugin-api {theirs}, whose ABI is not that of this host's {ours} ({difference}); build the plugin again with mshost-plugin-api {ours}"
    )]
    Abi {
        /// The host's version.
        ours: String,
        /// The plugin's version.
        theirs: String,
        /// The first difference.
        difference: String,
    },
    /// A plugin that was not made with mshost-plugin-api, or with another abi_stable.
    #[error(
        "its root module is not one that this host can use ({0}); build the plugin again with this host's mshost-plugin-api"
    )]
    Header(String),
    /// Its manifest cannot be read.
    #[error("what it says of itself cannot be used ({0}); build the plugin again with this host's mshost-plugin-api")]
    Manifest(String),
    /// Its panics cannot be caught.
    #[error(
        "it was built with `panic = \"abort\"`, so that a panic in it would end the host; build it with `panic = \"unwind\"`"
    )]
    PanicAbort,
    /// The probe's child process was killed by a signal.
    #[error("it crashed with {} as a child process loaded it (look at its constructors, and at those of the libraries that it needs){}", signal_name(*.signal), last_words(.said))]
    Crashed {
        /// The signal's number.
        signal: i32,
        /// What the child wrote to its standard error.
        said: String,
    },
    /// The probe's child process did not answer in time.
    #[error(
        "a child process did not load it within {} (does a constructor of the library wait for something?)", humantime::format_duration(*.limit)
    )]
    TimedOut {
        /// The limit.
        limit: Duration,
    },
    /// The host itself did not get it ready in time.
    #[error(
        "the host did not load it within {}, though a child process did; the thread that tries stays until the host ends", humantime::format_duration(*.limit)
    )]
    Stuck {
        /// The limit.
        limit: Duration,
    },
    /// The probe's child process ended without an answer.
    #[error("the child process that tried it ended without an answer: {status} (does a constructor of the library call `exit`?){}", last_words(.said))]
    Probe {
        /// How it ended.
        status: String,
        /// What the child wrote to its standard error.
        said: String,
    },
    /// Too many older versions could not be unloaded.
    #[error(
        "{mapped} libraries of plugins stay in memory, and no more than {limit} may (`host.mapped_limit`): their plugins say \
         `unload: never`, or threads of theirs have not ended; restart the host"
    )]
    TooManyMapped {
        /// How many stay.
        mapped: usize,
        /// How many may.
        limit: usize,
    },
    /// Too few keys for thread-locals are left.
    #[error(
        "this process has {free} keys for thread-locals left, and keeps {reserve} for what already runs: plugins or their C \
         libraries do not give theirs back when they are unloaded (build them with the present mshost-plugin-api); \
         restart the host"
    )]
    TooFewKeys {
        /// How many are left.
        free: usize,
        /// How many have to be.
        reserve: usize,
    },
    /// It could not be initialised.
    #[error("it cannot be initialised: {0}")]
    Init(String),
}

impl LoadFailure {
    /// The error of this file for this reason.
    #[must_use]
    pub fn of(self, file: &Path) -> LoadError {
        LoadError { file: file.to_owned(), reason: self }
    }

    /// A failed operation on a file; `action` says which.
    #[must_use]
    pub fn io(action: &str, error: &std::io::Error) -> Self {
        Self::Io { action: action.to_owned(), error: error.to_string() }
    }
}

impl LoadError {
    /// The label `kind` of the metrics: one of a few words.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.reason {
            LoadFailure::Io { .. } => "io",
            LoadFailure::NotALibrary(_) | LoadFailure::ExecutableStack => "not_a_library",
            LoadFailure::Truncated { .. } => "truncated",
            LoadFailure::WrongArchitecture { .. } => "wrong_architecture",
            LoadFailure::MissingLibrary(_)
            | LoadFailure::OldLibrary { .. }
            | LoadFailure::MissingSymbol(_)
            | LoadFailure::Open(_) => "open",
            LoadFailure::NotAPlugin => "not_a_plugin",
            LoadFailure::Abi { .. } | LoadFailure::Header(_) | LoadFailure::Manifest(_) => "abi",
            LoadFailure::PanicAbort => "panic_abort",
            LoadFailure::Crashed { .. } => "crashed",
            LoadFailure::TimedOut { .. } | LoadFailure::Stuck { .. } => "timed_out",
            LoadFailure::Probe { .. } => "probe",
            LoadFailure::TooManyMapped { .. } => "mapped_limit",
            LoadFailure::TooFewKeys { .. } => "thread_keys",
            LoadFailure::Init(_) => "init",
        }
    }

    /// Whether the file may simply not be complete yet.
    #[must_use]
    pub fn may_be_incomplete(&self) -> bool {
        matches!(self.reason, LoadFailure::Truncated { .. })
    }
}

fn last_words(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!("; it said: {said}") }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGILL => "SIGILL",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS",
        libc::SIGTRAP => "SIGTRAP",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
