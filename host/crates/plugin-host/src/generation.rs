//! One loaded version of one plugin, and the threads that are its own.
//!
//! # What makes unloading safe
//! The plugin's code runs only on the generation's lanes, on the threads of its blocking instances, on threads of the
//! plugin's own runtime, and on the one that opens and the one that closes the library. A value that the plugin made never
//! leaves them. Closing joins them all first; where one of them does not end, the library stays for ever. The reason is
//! twofold: code that runs must not vanish, and on glibc a thread-local with a destructor pins the library to its thread.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mshost_core::ids::{GenerationId, PluginName};
use mshost_core::metrics::Metrics;
use mshost_plugin_api::abi::{HostObject, PluginObject, RResult, TD_Opaque};
use mshost_plugin_api::{Manifest, Unload};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use super::error::{LoadError, LoadFailure};
use super::generation_state::{GenerationEvent, GenerationState, Stage};
use super::kept::Kept;
use super::lane::{self, Command, Lane, LaneInner, LaneLink, LaneTask};
use super::library::{Keys, Library, free_thread_keys};
use super::log::PluginLog;
use super::panics::{Place, inside};
use super::shadow::ShadowCopy;
use super::threads::Threads;

/// How long [`Generation::retire`] waits where a generation is dropped without it.
const DROP_LIMIT: Duration = Duration::from_secs(5);

/// How a plugin is loaded.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// How many threads run its async workers; at least 1.
    pub lanes: usize,
    /// How long opening and initialising may take.
    pub limit: Duration,
    /// The libraries that stay in memory.
    pub kept: Kept,
    /// Where to count.
    pub metrics: Arc<Metrics>,
}

impl LoadOptions {
    /// One lane, ten seconds, and 64 libraries that may stay.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { lanes: 1, limit: Duration::from_secs(10), kept: Kept::at_most(64), metrics }
    }
}

/// One loaded version of one plugin.
pub struct Generation {
    id: GenerationId,
    plugin: PluginName,
    info: Manifest,
    lanes: Vec<mpsc::UnboundedSender<Command>>,
    next_lane: AtomicUsize,
    stage: Stage,
    /// There until it retires.
    running: Mutex<Option<Running>>,
}

/// What has to be ended before the library is closed.
struct Running {
    loaded: Arc<Loaded>,
    threads: Threads,
    retire: watch::Sender<Option<tokio::time::Instant>>,
    abandoned: Arc<AtomicUsize>,
    stage: Stage,
    kept: Kept,
    metrics: Arc<Metrics>,
    plugin: PluginName,
}

/// An initialised plugin and its library. Field order is drop order: what the library made goes before the library.
pub(super) struct Loaded {
    plugin: PluginObject,
    /// Those of its `init`.
    keys: Keys,
    library: Library,
}

impl Loaded {
    pub(super) fn plugin(&self) -> &PluginObject {
        &self.plugin
    }

    pub(super) fn manifest(&self) -> &Manifest {
        self.library.manifest()
    }
}

/// What became of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired {
    /// Its library has left the memory.
    pub unmapped: bool,
    /// Threads that run the plugin's code and have not come back; they keep the library for as long as the host runs.
    pub abandoned_threads: usize,
}

impl Generation {
    /// Opens a copy that the [probe](super::probe()) has passed, and starts its lanes.
    ///
    /// # Errors
    /// Why it cannot be used. Nothing is left of it then.
    pub async fn load(
        id: GenerationId,
        plugin: PluginName,
        shadow: impl Into<Arc<ShadowCopy>>,
        options: LoadOptions,
    ) -> Result<Arc<Self>, LoadError> {
        let shadow = shadow.into();
        let original = shadow.original().to_owned();
        options.kept.check().map_err(|failure| failure.of(&original))?;
        let free_keys = free_thread_keys();
        options.metrics.thread_keys_free.set(i64::try_from(free_keys).unwrap_or(i64::MAX));
        Kept::check_keys(free_keys).map_err(|failure| failure.of(&original))?;
        let limit = options.limit;
        let (done, opened) = oneshot::channel();
        let threads = Threads::default();
        let (name, metrics) = (plugin.clone(), Arc::clone(&options.metrics));
        threads
            .spawn(format!("{plugin}-{id}-open"), move || {
                let loaded = open(shadow, &name, metrics);
                if let Err(Ok(late)) = done.send(loaded) {
                    // The caller has given up. Closed here, on a thread of the generation.
                    close(late, DROP_LIMIT, Keys::default());
                }
            })
            .map_err(|error| LoadFailure::io("start a thread for it", &error).of(&original))?;
        let loaded = tokio::time::timeout(limit, opened).await;
        let loaded = match loaded {
            Ok(Ok(loaded)) => loaded.map_err(|failure| failure.of(&original))?,
            Ok(Err(_)) => return Err(LoadFailure::Init("its thread ended without a result".to_owned()).of(&original)),
            Err(_) => {
                // Its thread cannot be ended. Should it come back, it closes the library itself.
                options.metrics.still_mapped.inc();
                return Err(LoadFailure::Stuck { limit }.of(&original));
            }
        };
        Self::start(id, plugin, loaded, threads, &options)
            .map_err(|error| LoadFailure::io("start its threads", &error).of(&original))
    }

    fn start(
        id: GenerationId,
        plugin: PluginName,
        loaded: Loaded,
        threads: Threads,
        options: &LoadOptions,
    ) -> std::io::Result<Arc<Self>> {
        let info = loaded.manifest().clone();
        let (retire, retiring) = watch::channel(None);
        let (metrics, stage) = (Arc::clone(&options.metrics), Stage::loaded());
        metrics.generations.with_label_values(&[plugin.as_str()]).inc();
        let running = Running {
            loaded: Arc::new(loaded),
            threads,
            retire,
            abandoned: Arc::default(),
            stage: stage.clone(),
            kept: options.kept.clone(),
            metrics,
            plugin: plugin.clone(),
        };
        // From here on dropping it ends what has been started.
        let (lanes, next_lane, running_later) = (Vec::new(), AtomicUsize::new(0), Mutex::new(None));
        let mut generation = Self { id, plugin, info, lanes, next_lane, stage, running: running_later };
        let waiting = Arc::new(AtomicUsize::new(0));
        for number in 0..options.lanes.max(1) {
            let name = format!("{}-{id}-{number}", generation.plugin);
            #[expect(
                clippy::disallowed_methods,
                reason = "one command for each worker that starts, and for each send that the window of the bus lets wait"
            )]
            let (commands, received) = mpsc::unbounded_channel();
            let link = LaneLink { commands: commands.clone(), waiting: Arc::clone(&waiting) };
            let lane = running.lane(name.clone(), link);
            let retiring = retiring.clone();
            let started = running.threads.spawn(name, move || lane::run(lane.into_lane(), received, retiring));
            generation.lanes.push(commands);
            if let Err(error) = started {
                *generation.running.get_mut() = Some(running);
                return Err(error);
            }
        }
        *generation.running.get_mut() = Some(running);
        Ok(Arc::new(generation))
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> GenerationId {
        self.id
    }

    /// The plugin that it is a version of.
    #[must_use]
    pub fn plugin(&self) -> &PluginName {
        &self.plugin
    }

    /// What it says of itself.
    #[must_use]
    pub fn info(&self) -> &Manifest {
        &self.info
    }

    /// Where it is in its life.
    #[must_use]
    pub fn state(&self) -> GenerationState {
        self.stage.get()
    }

    /// Runs a task on one of its lanes, in turn. The task may do on its lane what it likes, except block.
    pub fn spawn<F, Fut>(&self, task: F) -> LaneTask
    where
        F: FnOnce(Lane) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let (command, end) = LaneTask::new(task);
        let lane = self.next_lane.fetch_add(1, Ordering::Relaxed) % self.lanes.len();
        // A lane that has ended drops the command, which the caller hears of.
        let _ = self.lanes[lane].send(command);
        end
    }

    /// Waits for its tasks, ends its threads and unloads it, within about `limit`: tasks that have not ended by then are
    /// dropped. Whatever does not end keeps the library in memory, and is told.
    pub async fn retire(self: Arc<Self>, limit: Duration) -> Retired {
        let Some(running) = self.release() else {
            return Retired { unmapped: false, abandoned_threads: 0 };
        };
        let name = format!("{}-{}-close", self.plugin, self.id);
        let (done, retired) = oneshot::channel();
        let body = move || _ = done.send(running.end(limit));
        if let Err(error) = thread::Builder::new().name(name).spawn(body) {
            tracing::warn!(target: "mshost::plugin", plugin = %self.plugin, "no thread to unload it on, so it stays: {error}");
        }
        retired.await.unwrap_or(Retired { unmapped: false, abandoned_threads: 0 })
    }
}

impl Generation {
    /// What has to be ended; `None` where it is being ended already.
    fn release(&self) -> Option<Running> {
        self.stage.step(GenerationEvent::Released).ok()?;
        self.running.lock().take()
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if let Some(running) = self.release() {
            let name = format!("{}-{}-close", self.plugin, self.id);
            let body = move || _ = running.end(DROP_LIMIT);
            if let Err(error) = thread::Builder::new().name(name).spawn(body) {
                tracing::warn!(target: "mshost::plugin", plugin = %self.plugin, "no thread to unload it on, so it stays: {error}");
            }
        }
    }
}

/// A lane on its way to its thread; a [`Lane`] cannot travel.
struct LaneSeed(LaneInner);

impl LaneSeed {
    fn into_lane(self) -> Lane {
        Lane(std::rc::Rc::new(self.0))
    }
}

impl Running {
    fn lane(&self, name: String, link: LaneLink) -> LaneSeed {
        LaneSeed(LaneInner {
            loaded: Arc::clone(&self.loaded),
            link,
            threads: self.threads.clone(),
            metrics: Arc::clone(&self.metrics),
            name,
            abandoned: Arc::clone(&self.abandoned),
        })
    }

    /// Ends everything, on a thread that ends right after. Blocks for about `limit`.
    fn end(self, limit: Duration) -> Retired {
        let deadline = Instant::now() + limit;
        self.retire.send_replace(Some(deadline.into()));
        // The lanes need a moment to drop what they still have at the deadline.
        let left = self.threads.join_until(deadline + Duration::from_millis(500));
        let Self { loaded, threads, metrics, plugin, abandoned, stage, kept, .. } = self;
        let unmapped = match (left, Arc::try_unwrap(loaded)) {
            (0, Ok(loaded)) => close(loaded, deadline.saturating_duration_since(Instant::now()), threads.keys()),
            (_, loaded) => {
                // Somebody is still in there. To drop even the last reference would be to unload it under their feet.
                std::mem::forget(loaded);
                false
            }
        };
        let left = left.max(abandoned.load(Ordering::Relaxed));
        let event = if unmapped {
            metrics.generations.with_label_values(&[plugin.as_str()]).dec();
            GenerationEvent::Closed
        } else {
            metrics.still_mapped.inc();
            kept.add();
            GenerationEvent::Stayed
        };
        if let Err(error) = stage.step(event) {
            tracing::error!(target: "mshost::plugin", %plugin, "a bug in the host: {error}");
        }
        tracing::debug!(target: "mshost::plugin", %plugin, unmapped, abandoned_threads = left, "generation retired");
        Retired { unmapped, abandoned_threads: left }
    }
}

/// Opens and initialises a library, on a thread of its generation.
fn open(shadow: Arc<ShadowCopy>, plugin: &PluginName, metrics: Arc<Metrics>) -> Result<Loaded, LoadFailure> {
    let library = Library::open(shadow.path())?;
    // The mapping stays; the file is of use to processes of isolated workers only.
    drop(shadow);
    let host = HostObject::from_value(PluginLog { plugin: plugin.clone(), metrics: Arc::clone(&metrics) }, TD_Opaque);
    let ((initialised, _), keys) = Keys::during(|| inside(Place::Load, || library.module().init()(host)));
    match initialised {
        RResult::ROk(plugin) => Ok(Loaded { plugin, keys, library }),
        RResult::RErr(error) => {
            let message = error.as_str().to_owned();
            drop(error);
            if !library.close(&keys) {
                metrics.still_mapped.inc();
            }
            Err(LoadFailure::Init(message))
        }
    }
}

/// Ends the plugin's own threads, and unloads it where they have ended and it allows that. Whether it left the memory.
fn close(loaded: Loaded, limit: Duration, mut keys: Keys) -> bool {
    // At least a moment: a limit of nothing would leave threads that are about to end.
    let limit = limit.max(Duration::from_millis(200));
    // On a thread of its own, since this is the plugin's code again: its thread-locals would pin the library to this one.
    let ending =
        thread::Builder::new().name("plugin-end".to_owned()).spawn(move || Keys::during(|| end_plugin(loaded, limit)));
    match ending.map(thread::JoinHandle::join) {
        Ok(Ok((Some((library, first)), own))) => {
            keys.extend(first);
            keys.extend(own);
            library.close(&keys)
        }
        Ok(Ok((None, _))) => false,
        Ok(Err(_)) | Err(_) => {
            tracing::warn!(target: "mshost::plugin", "a plugin could not be ended");
            false
        }
    }
}

/// Ends and drops everything of a plugin but its library, which is given back where it may be closed, and the keys of its `init`.
fn end_plugin(loaded: Loaded, limit: Duration) -> Option<(Library, Keys)> {
    let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let (ended, _) = inside(Place::Unload, || loaded.plugin.shutdown(limit));
    if !ended || loaded.manifest().unload == Unload::Never {
        // For ever: its code is in use, or may be.
        std::mem::forget(loaded);
        return None;
    }
    let Loaded { plugin, keys, library } = loaded;
    inside(Place::Unload, || drop(plugin));
    Some((library, keys))
}
