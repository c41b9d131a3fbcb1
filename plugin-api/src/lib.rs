//! The API for authors of mshost worker plugins.
//!
//! A plugin is a `cdylib` crate with one or more workers. Each is a type that implements [`Worker`] (async) or
//! [`BlockingWorker`], and [`export_plugin!`] makes the library of them. See there for a whole plugin.
//!
//! A worker gets its configuration as a type of its own (`serde` and `schemars` derive what is needed), one [`Job`] at a
//! time with its data as another, and a [`Context`] for everything that it asks of its host. It logs with `tracing`.
//! The crates it needs for that are re-exported, so that both sides have the same version; `#[derive]`s want the crate
//! itself in the plugin's `Cargo.toml`.
//!
//! A plugin is unloaded when a newer version takes over, and what its crates keep in statics then stays in memory. So use
//! tokio without its features `signal` and `process` (and `full`, which has both): with them each version of a plugin
//! leaves 24 KiB and two file descriptors behind. Build plugins in a cargo call of their own, since cargo unites features.

pub mod abi;
mod codec;
mod context;
mod error;
mod export;
mod glue;
mod ids;
mod job;
mod log;
mod route;
mod runtime;
mod send;
mod state;
mod worker;

pub use codec::{Codec, DecodeError, EncodeError, Payload, UnknownCodec};
pub use context::{Context, Timer, WorkerMetrics};
pub use error::{Error, JobError, Retry, SendError};
pub use export::{Manifest, PanicStrategy, Unload, WorkerKind, WorkerManifest};
pub use ids::{Address, JobId, MAX_NAME_BYTES, NameError, WorkerId, WorkerRef, WorkerType};
pub use job::Job;
pub use route::{MAX_ROUTE_LEN, Route, RouteError};
pub use send::Sending;
pub use state::{BlockingStateful, Snapshot, Stateful};
pub use worker::{BlockingWorker, NoConfig, Worker};

pub use {schemars, serde, serde_json, tokio, tracing};

/// What [`export_plugin!`] expands to. Not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::abi::{Exported, HostObject, LibHeader, PluginObject, lib_header};
    pub use crate::export::{CrateFacts, Registration};
    pub use crate::glue::init;
}

/// The examples of the authors' guide, compiled as they stand.
#[cfg(doctest)]
#[doc = include_str!("../../docs/authoring.md")]
struct AuthoringGuide;
