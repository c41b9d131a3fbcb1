//! Export of a plugin: the manifest, the registration of workers, and the macro.

use schemars::{JsonSchema, Schema, schema_for};
use serde::{Deserialize, Serialize};

use crate::glue::{StartFn, start_async, start_async_stateful, start_blocking, start_blocking_stateful};
use crate::{BlockingStateful, BlockingWorker, Stateful, Worker};

/// The manifest by which a plugin describes itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The crate's name, without a leading `mshost-plugin-`.
    pub name: String,
    /// The crate's version.
    pub version: String,
    /// The version of `mshost-plugin-api` that it was built against.
    pub api_version: String,
    /// The compiler, as `rustc --version` has it.
    pub rustc: String,
    /// What a panic does: the host refuses [`PanicStrategy::Abort`].
    pub panic: PanicStrategy,
    /// Whether its library may be unloaded.
    #[serde(default)]
    pub unload: Unload,
    /// Its workers.
    pub workers: Vec<WorkerManifest>,
}

/// The manifest of one worker of a plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerManifest {
    /// The type that it serves, as in `WB`.
    #[serde(rename = "type")]
    pub worker_type: String,
    /// Whether it is async or blocking.
    pub kind: WorkerKind,
    /// The JSON Schema of its configuration.
    pub schema: serde_json::Value,
    /// The schema of its state, where it hands that over to the version that takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<u32>,
}

/// The kind of a worker: how its handlers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerKind {
    /// Its handlers are futures: a [`Worker`].
    Async,
    /// Its handlers block: a [`BlockingWorker`].
    Blocking,
}

/// The effect of a panic in a plugin, set by its `[profile]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PanicStrategy {
    /// It can be caught.
    Unwind,
    /// It ends the whole host.
    Abort,
}

/// Whether a plugin's library may be unloaded once its last worker has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unload {
    /// Yes.
    #[default]
    Drained,
    /// No: it has threads or signal handlers of its own in C, say.
    Never,
}

/// The registration of a worker: one line of `workers` in [`export_plugin!`](crate::export_plugin).
pub struct Registration {
    worker_type: &'static str,
    schema: fn() -> Schema,
    start: StartFn,
    state: Option<u32>,
}

impl Registration {
    /// For `"TYPE" => Worker`.
    #[must_use]
    pub fn asynchronous<W: Worker>(worker_type: &'static str) -> Self {
        Self { worker_type, schema: schema_of::<W::Config>, start: StartFn::Async(start_async::<W>), state: None }
    }

    /// For `"TYPE" => blocking Worker`.
    #[must_use]
    pub fn blocking<W: BlockingWorker>(worker_type: &'static str) -> Self {
        Self { worker_type, schema: schema_of::<W::Config>, start: StartFn::Blocking(start_blocking::<W>), state: None }
    }

    /// For `"TYPE" => stateful Worker`.
    #[must_use]
    pub fn stateful<W: Stateful>(worker_type: &'static str) -> Self {
        let start = StartFn::Async(start_async_stateful::<W>);
        Self { worker_type, schema: schema_of::<W::Config>, start, state: Some(W::SCHEMA) }
    }

    /// For `"TYPE" => blocking stateful Worker`.
    #[must_use]
    pub fn blocking_stateful<W: BlockingStateful>(worker_type: &'static str) -> Self {
        let start = StartFn::Blocking(start_blocking_stateful::<W>);
        Self { worker_type, schema: schema_of::<W::Config>, start, state: Some(W::SCHEMA) }
    }

    pub(crate) fn worker_type(&self) -> &'static str {
        self.worker_type
    }

    pub(crate) fn start(&self) -> &StartFn {
        &self.start
    }

    fn manifest(&self) -> WorkerManifest {
        let kind = match self.start {
            StartFn::Async(_) => WorkerKind::Async,
            StartFn::Blocking(_) => WorkerKind::Blocking,
        };
        WorkerManifest {
            worker_type: self.worker_type.to_owned(),
            kind,
            schema: (self.schema)().to_value(),
            state: self.state,
        }
    }
}

fn schema_of<C: JsonSchema>() -> Schema {
    schema_for!(C)
}

/// The facts of a plugin's crate that [`export_plugin!`](crate::export_plugin) collects.
pub struct CrateFacts {
    /// `CARGO_PKG_NAME`
    pub name: &'static str,
    /// `CARGO_PKG_VERSION`
    pub version: &'static str,
    /// `cfg!(panic = "abort")`
    pub aborts: bool,
    /// `unload: never`
    pub never_unload: bool,
}

impl CrateFacts {
    pub(crate) fn plugin_name(&self) -> &'static str {
        self.name.strip_prefix("mshost-plugin-").unwrap_or(self.name)
    }

    /// The plugin's manifest, as JSON.
    #[must_use]
    pub fn describe(&self, workers: &[Registration]) -> String {
        let manifest = Manifest {
            name: self.plugin_name().to_owned(),
            version: self.version.to_owned(),
            api_version: env!("CARGO_PKG_VERSION").to_owned(),
            rustc: env!("MSHOST_RUSTC").to_owned(),
            panic: if self.aborts { PanicStrategy::Abort } else { PanicStrategy::Unwind },
            unload: if self.never_unload { Unload::Never } else { Unload::Drained },
            workers: workers.iter().map(Registration::manifest).collect(),
        };
        // Nothing in a manifest can fail to be JSON; were it so, the host reports the empty text.
        serde_json::to_string(&manifest).unwrap_or_default()
    }
}

/// Makes the crate a plugin: a `cdylib` whose workers an mshost can run. Once a crate.
///
/// ```
/// use mshost_plugin_api::{BlockingWorker, Context, Error, Job, NoConfig, Worker, export_plugin};
///
/// struct Pilot;
///
/// impl Worker for Pilot {
///     type Config = NoConfig;
///     async fn start(_: NoConfig, _: &Context) -> Result<Self, Error> {
///         Ok(Self)
///     }
///     async fn handle(&self, job: Job, ctx: &Context) -> Result<(), Error> {
///         let order: String = job.data()?;
///         ctx.send(["WB:*", &job.sender.id], &order).await?;
///         Ok(())
///     }
/// }
///
/// struct Db;
///
/// impl BlockingWorker for Db {
///     type Config = NoConfig;
///     fn start(_: NoConfig, _: &Context) -> Result<Self, Error> {
///         Ok(Self)
///     }
///     fn handle(&self, job: Job, _: &Context) -> Result<(), Error> {
///         job.blocking_forward("a row")?;
///         Ok(())
///     }
/// }
///
/// export_plugin! { workers: { "WD" => Pilot, "WB" => blocking Db } }
/// # fn main() {}
/// ```
///
/// A worker that hands its state over to the next version is `stateful`: see [`Stateful`] and [`BlockingStateful`].
///
/// `unload: never` after `workers` keeps the library in memory for as long as the host runs: for a plugin that starts
/// threads of its own in C, or sets signal handlers.
#[macro_export]
macro_rules! export_plugin {
    (workers: { $($workers:tt)+ } $(,)?) => {
        $crate::export_plugin! { @export false, $($workers)+ }
    };
    (workers: { $($workers:tt)+ }, unload: never $(,)?) => {
        $crate::export_plugin! { @export true, $($workers)+ }
    };
    (@export $never_unload:literal, $($workers:tt)+) => {
        const _: () = {
            const FACTS: $crate::__private::CrateFacts = $crate::__private::CrateFacts {
                name: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
                aborts: cfg!(panic = "abort"),
                never_unload: $never_unload,
            };

            fn workers() -> Vec<$crate::__private::Registration> {
                $crate::export_plugin! { @workers [] $($workers)+ }
            }

            struct Export;

            impl $crate::__private::Exported for Export {
                fn describe() -> String {
                    FACTS.describe(&workers())
                }

                fn init(host: $crate::__private::HostObject) -> Result<$crate::__private::PluginObject, String> {
                    $crate::__private::init(&FACTS, workers(), host)
                }
            }

            // The symbol that the host looks for; see `HEADER_SYMBOL`.
            #[allow(unsafe_code)]
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            static HEADER: $crate::__private::LibHeader = $crate::__private::lib_header::<Export>();
        };
    };
    (@workers [$($done:expr),*] $kind:literal => blocking stateful $worker:ty $(, $($rest:tt)*)?) => {
        $crate::export_plugin! {
            @workers [$($done,)* $crate::__private::Registration::blocking_stateful::<$worker>($kind)] $($($rest)*)?
        }
    };
    (@workers [$($done:expr),*] $kind:literal => stateful $worker:ty $(, $($rest:tt)*)?) => {
        $crate::export_plugin! {
            @workers [$($done,)* $crate::__private::Registration::stateful::<$worker>($kind)] $($($rest)*)?
        }
    };
    (@workers [$($done:expr),*] $kind:literal => blocking $worker:ty $(, $($rest:tt)*)?) => {
        $crate::export_plugin! {
            @workers [$($done,)* $crate::__private::Registration::blocking::<$worker>($kind)] $($($rest)*)?
        }
    };
    (@workers [$($done:expr),*] $kind:literal => $worker:ty $(, $($rest:tt)*)?) => {
        $crate::export_plugin! {
            @workers [$($done,)* $crate::__private::Registration::asynchronous::<$worker>($kind)] $($($rest)*)?
        }
    };
    (@workers [$($done:expr),*]) => { vec![$($done),*] };
}
