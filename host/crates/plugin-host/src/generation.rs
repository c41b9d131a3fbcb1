//! A generation: one loaded version of one plugin, with threads of its own.
//!
//! # What makes unloading safe
//! Invariant: the plugin's code runs only on the generation's lanes, on the threads of its blocking instances, on threads of
//! the plugin's own runtime, and on the threads that open and close the library; a value that the plugin made never leaves
//! them. Closing joins them all first. Where one does not end, the library stays mapped for as long as the host runs, for two
//! reasons: code that runs must not vanish, and on glibc a thread-local with a destructor pins the library to its thread.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mshost_core::ids::{GenerationId, PluginName};
use mshost_core::metrics::Metrics;
use mshost_plugin_api::Manifest;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use crate::executor::{Lane, LaneCommand, LaneInner, LaneLink, LaneTask, Threads, run_lane};
use crate::generation_state::{GenerationEvent, GenerationState, SharedGenerationState};
use crate::loader::{LoadError, LoadFailure, LoadedPlugin, MappedLibraries, ShadowCopy, ThreadKeys, free_thread_keys};

/// How long [`Generation::retire`] waits where a generation is dropped without it.
const DROP_LIMIT: Duration = Duration::from_secs(5);

/// Options for loading a plugin.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// How many threads run its async workers; at least 1.
    pub lanes: usize,
    /// How long opening and initialising may take.
    pub limit: Duration,
    /// The count of libraries that stay mapped, and its limit.
    pub mapped_libraries: MappedLibraries,
    /// The metrics to count in.
    pub metrics: Arc<Metrics>,
}

impl LoadOptions {
    /// One lane, ten seconds, and 64 libraries that may stay.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { lanes: 1, limit: Duration::from_secs(10), mapped_libraries: MappedLibraries::at_most(64), metrics }
    }
}

/// One loaded version of one plugin.
pub struct Generation {
    id: GenerationId,
    plugin: PluginName,
    info: Manifest,
    lanes: Vec<mpsc::UnboundedSender<LaneCommand>>,
    next_lane: AtomicUsize,
    state: SharedGenerationState,
    /// `None` once it retires.
    active: Mutex<Option<ActiveGeneration>>,
}

/// All of a generation that has to end before its library is closed.
struct ActiveGeneration {
    loaded: Arc<LoadedPlugin>,
    threads: Threads,
    retire: watch::Sender<Option<tokio::time::Instant>>,
    abandoned: Arc<AtomicUsize>,
    state: SharedGenerationState,
    mapped_libraries: MappedLibraries,
    metrics: Arc<Metrics>,
    plugin: PluginName,
}

/// The outcome of [`Generation::retire`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired {
    /// Whether its library has left the memory.
    pub unmapped: bool,
    /// Threads that have not returned from the plugin's code; they keep the library mapped for as long as the host runs.
    pub abandoned_threads: usize,
}

impl Generation {
    /// Opens a copy that the [probe](crate::probe()) has passed, and starts its lanes.
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
        options.mapped_libraries.check().map_err(|failure| failure.of(&original))?;
        let free_keys = free_thread_keys();
        options.metrics.thread_keys_free.set(i64::try_from(free_keys).unwrap_or(i64::MAX));
        MappedLibraries::check_keys(free_keys).map_err(|failure| failure.of(&original))?;
        let limit = options.limit;
        let (done, opened) = oneshot::channel();
        let threads = Threads::default();
        let (name, metrics) = (plugin.clone(), Arc::clone(&options.metrics));
        threads
            .spawn(format!("{plugin}-{id}-open"), move || {
                let loaded = LoadedPlugin::open(shadow, &name, metrics);
                if let Err(Ok(late)) = done.send(loaded) {
                    // The caller has given up. Closed here, on a thread of the generation.
                    late.close(DROP_LIMIT, ThreadKeys::default());
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
        loaded: LoadedPlugin,
        threads: Threads,
        options: &LoadOptions,
    ) -> std::io::Result<Arc<Self>> {
        let info = loaded.manifest().clone();
        let (retire, retiring) = watch::channel(None);
        let (metrics, state) = (Arc::clone(&options.metrics), SharedGenerationState::loaded());
        metrics.generations.with_label_values(&[plugin.as_str()]).inc();
        let active = ActiveGeneration {
            loaded: Arc::new(loaded),
            threads,
            retire,
            abandoned: Arc::default(),
            state: state.clone(),
            mapped_libraries: options.mapped_libraries.clone(),
            metrics,
            plugin: plugin.clone(),
        };
        // From here on, dropping it ends what has been started.
        let (lanes, next_lane, active_later) = (Vec::new(), AtomicUsize::new(0), Mutex::new(None));
        let mut generation = Self { id, plugin, info, lanes, next_lane, state, active: active_later };
        let waiting = Arc::new(AtomicUsize::new(0));
        for number in 0..options.lanes.max(1) {
            let name = format!("{}-{id}-{number}", generation.plugin);
            #[expect(
                clippy::disallowed_methods,
                reason = "one command for each worker that starts, and for each send that the window of the bus lets wait"
            )]
            let (commands, received) = mpsc::unbounded_channel();
            let link = LaneLink { commands: commands.clone(), waiting: Arc::clone(&waiting) };
            let lane = active.lane(name.clone(), link);
            let retiring = retiring.clone();
            let started = active.threads.spawn(name, move || run_lane(lane.into_lane(), received, retiring));
            generation.lanes.push(commands);
            if let Err(error) = started {
                *generation.active.get_mut() = Some(active);
                return Err(error);
            }
        }
        *generation.active.get_mut() = Some(active);
        Ok(Arc::new(generation))
    }

    /// The generation's number.
    #[must_use]
    pub fn id(&self) -> GenerationId {
        self.id
    }

    /// The plugin of which this is a version.
    #[must_use]
    pub fn plugin(&self) -> &PluginName {
        &self.plugin
    }

    /// The plugin's manifest.
    #[must_use]
    pub fn info(&self) -> &Manifest {
        &self.info
    }

    /// The present state.
    #[must_use]
    pub fn state(&self) -> GenerationState {
        self.state.get()
    }

    /// Runs a task on one of the lanes, which take turns. The task may do anything there but block.
    pub fn spawn<F, Fut>(&self, task: F) -> LaneTask
    where
        F: FnOnce(Lane) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let (command, end) = LaneTask::new(task);
        let lane = self.next_lane.fetch_add(1, Ordering::Relaxed) % self.lanes.len();
        // A lane that has ended drops the command, and the caller gets `LaneError::Retired`.
        let _ = self.lanes[lane].send(command);
        end
    }

    /// Waits for the tasks, ends the threads and unloads the library, within about `limit`: tasks that have not ended by then
    /// are dropped. A thread that does not end keeps the library mapped; the outcome says so.
    pub async fn retire(self: Arc<Self>, limit: Duration) -> Retired {
        let Some(active) = self.release() else {
            return Retired { unmapped: false, abandoned_threads: 0 };
        };
        let name = format!("{}-{}-close", self.plugin, self.id);
        let (done, retired) = oneshot::channel();
        let body = move || _ = done.send(active.end(limit));
        if let Err(error) = thread::Builder::new().name(name).spawn(body) {
            tracing::warn!(target: "mshost::plugin", plugin = %self.plugin, "no thread to unload it on, so it stays: {error}");
        }
        retired.await.unwrap_or(Retired { unmapped: false, abandoned_threads: 0 })
    }
}

impl Generation {
    /// Takes what has to be ended; `None` where it is being ended already.
    fn release(&self) -> Option<ActiveGeneration> {
        self.state.apply(GenerationEvent::Released).ok()?;
        self.active.lock().take()
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if let Some(active) = self.release() {
            let name = format!("{}-{}-close", self.plugin, self.id);
            let body = move || _ = active.end(DROP_LIMIT);
            if let Err(error) = thread::Builder::new().name(name).spawn(body) {
                tracing::warn!(target: "mshost::plugin", plugin = %self.plugin, "no thread to unload it on, so it stays: {error}");
            }
        }
    }
}

/// A lane before it is moved to its thread: a [`Lane`] is not `Send`.
struct LaneSeed(LaneInner);

impl LaneSeed {
    fn into_lane(self) -> Lane {
        Lane(std::rc::Rc::new(self.0))
    }
}

impl ActiveGeneration {
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

    /// Ends everything. Blocks for about `limit`; to be called on a thread that ends right after.
    fn end(self, limit: Duration) -> Retired {
        let deadline = Instant::now() + limit;
        self.retire.send_replace(Some(deadline.into()));
        // The lanes need a moment to drop what they still have at the deadline.
        let left = self.threads.join_until(deadline + Duration::from_millis(500));
        let Self { loaded, threads, metrics, plugin, abandoned, state, mapped_libraries, .. } = self;
        let unmapped = match (left, Arc::try_unwrap(loaded)) {
            (0, Ok(loaded)) => loaded.close(deadline.saturating_duration_since(Instant::now()), threads.keys()),
            (_, loaded) => {
                // A thread still runs its code: dropping the last reference here would unload that code.
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
            mapped_libraries.add();
            GenerationEvent::Stayed
        };
        if let Err(error) = state.apply(event) {
            tracing::error!(target: "mshost::plugin", %plugin, "a bug in the host: {error}");
        }
        tracing::debug!(target: "mshost::plugin", %plugin, unmapped, abandoned_threads = left, "generation retired");
        Retired { unmapped, abandoned_threads: left }
    }
}
