//! Which of the plugin's functions the host is in on a thread, so that a panic is known by where it happened.
//!
//! The plugin's panic hook logs through the host before anything unwinds, on the thread that panics. What the host has
//! not called there is the plugin's own: a task on its runtime or a thread that it started. Such a panic is counted, and
//! replaces no worker: the host cannot know whose it was, and several workers share a runtime.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::services::InstanceServices;

/// What the plugin's panic hook logs as.
pub(super) const TARGET: &str = "panic";

/// How the threads of a plugin's runtime are called: by its name, and this.
const RUNTIME_SUFFIX: &str = "-rt";

/// Where a plugin panicked: the label `where` of `mshost_plugin_panics_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Load,
    Start,
    Handle,
    OnError,
    Drain,
    Stop,
    Drop,
    Unload,
    /// A task that the plugin spawned on its runtime.
    Task,
    /// A thread that the plugin started.
    Thread,
}

impl Place {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Start => "start",
            Self::Handle => "handle",
            Self::OnError => "on_error",
            Self::Drain => "drain",
            Self::Stop => "stop",
            Self::Drop => "drop",
            Self::Unload => "unload",
            Self::Task => "task",
            Self::Thread => "thread",
        }
    }
}

thread_local! {
    static HERE: Cell<Option<Place>> = const { Cell::new(None) };
    static HEARD: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs plugin code, and says what it panicked with, caught or not, if it did.
pub(super) fn inside<T>(place: Place, body: impl FnOnce() -> T) -> (T, Option<String>) {
    struct Back(Option<Place>);
    impl Drop for Back {
        fn drop(&mut self) {
            HERE.set(self.0);
        }
    }
    let back = Back(HERE.replace(Some(place)));
    let result = body();
    drop(back);
    (result, HEARD.take())
}

/// Whether this thread is in a worker's `start`. Its tasks are elsewhere.
pub(super) fn is_starting() -> bool {
    HERE.get() == Some(Place::Start)
}

/// Notes that this thread panics. `thread` is the name that the plugin knows it by.
pub(super) fn note(message: &str, thread: Option<&str>) -> Place {
    match HERE.get() {
        Some(place) => {
            HEARD.replace(Some(message.to_owned()));
            place
        }
        None if thread.is_some_and(|name| name.ends_with(RUNTIME_SUFFIX)) => Place::Task,
        None => Place::Thread,
    }
}

/// A future of the plugin. A panic in it that its answer cannot tell of is told to the worker.
pub(super) struct Watched<F> {
    future: Option<F>,
    place: Place,
    services: Arc<InstanceServices>,
}

impl<F: Future + Unpin> Watched<F> {
    /// `make` calls the plugin for its future.
    pub(super) fn new(place: Place, services: &Arc<InstanceServices>, make: impl FnOnce() -> F) -> Self {
        let (future, _) = inside(place, make);
        Self { future: Some(future), place, services: Arc::clone(services) }
    }
}

impl<F: Future + Unpin> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let place = self.place;
        let Some(future) = &mut self.future else { return Poll::Pending };
        let (polled, heard) = inside(place, || Pin::new(future).poll(cx));
        if let Some(message) = heard
            && matches!(place, Place::OnError | Place::Drain)
        {
            self.services.panicked(&message);
        }
        polled
    }
}

impl<F> Drop for Watched<F> {
    fn drop(&mut self) {
        let future = self.future.take();
        if let ((), Some(message)) = inside(self.place, || drop(future)) {
            self.services.panicked(&message);
        }
    }
}

/// A value of the plugin, whose drop is the plugin's code.
pub(super) struct Owned<T>(Option<T>);

impl<T> Owned<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T> std::ops::Deref for Owned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        #[expect(clippy::expect_used, reason = "only its drop takes it")]
        self.0.as_ref().expect("there until it is dropped")
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        inside(Place::Drop, || drop(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_belongs_to_the_innermost_call_and_else_to_the_plugin_itself() {
        assert_eq!(note("a", Some("echo-rt")), Place::Task);
        assert_eq!(note("b", None), Place::Thread);
        let ((), heard) = inside(Place::Start, || {
            let (place, heard) = inside(Place::Drop, || note("c", Some("echo-1-0")));
            assert_eq!((place, heard.as_deref()), (Place::Drop, Some("c")));
            assert_eq!(note("d", Some("echo-1-0")), Place::Start);
        });
        assert_eq!(heard.as_deref(), Some("d"));
        assert_eq!(inside(Place::Handle, || ()).1, None, "it is told once");
        assert_eq!(note("e", None), Place::Thread);
    }
}
