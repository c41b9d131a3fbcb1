//! The function of the plugin that the host is calling on a thread, so that a panic is known by where it happened.
//!
//! The plugin's panic hook logs through the host before anything unwinds, on the thread that panics. What the host has
//! not called there is the plugin's own: a task on its runtime or a thread that it started. Such a panic is counted, and
//! replaces no worker: the host cannot know whose it was, and several workers share a runtime.

use std::cell::{Cell, RefCell};

/// The log target of the plugin's panic hook.
pub(crate) const PANIC_TARGET: &str = "panic";

/// Suffix of the names of threads of a plugin's runtime; its name comes before.
const RUNTIME_SUFFIX: &str = "-rt";

/// The function of a plugin in which it panicked: the label `where` of `mshost_plugin_panics_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PanicSite {
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

impl PanicSite {
    pub(crate) fn name(self) -> &'static str {
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
    static CURRENT_SITE: Cell<Option<PanicSite>> = const { Cell::new(None) };
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs plugin code. Returns the message of its panic, if it panicked, even where the plugin caught that.
pub(crate) fn call_plugin<T>(site: PanicSite, body: impl FnOnce() -> T) -> (T, Option<String>) {
    struct Restore(Option<PanicSite>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT_SITE.set(self.0);
        }
    }
    let restore = Restore(CURRENT_SITE.replace(Some(site)));
    let result = body();
    drop(restore);
    (result, LAST_PANIC.take())
}

/// Whether this thread is in a worker's `start`; tasks that it spawns are not.
pub(crate) fn is_starting() -> bool {
    CURRENT_SITE.get() == Some(PanicSite::Start)
}

/// Records that this thread panics, and returns where. `thread` is the name that the plugin knows it by.
pub(crate) fn record_panic(message: &str, thread: Option<&str>) -> PanicSite {
    match CURRENT_SITE.get() {
        Some(site) => {
            LAST_PANIC.replace(Some(message.to_owned()));
            site
        }
        None if thread.is_some_and(|name| name.ends_with(RUNTIME_SUFFIX)) => PanicSite::Task,
        None => PanicSite::Thread,
    }
}

/// A value of the plugin, whose drop runs code of the plugin.
pub(crate) struct PluginOwned<T>(Option<T>);

impl<T> PluginOwned<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T> std::ops::Deref for PluginOwned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        #[expect(clippy::expect_used, reason = "only its drop takes it")]
        self.0.as_ref().expect("there until it is dropped")
    }
}

impl<T> Drop for PluginOwned<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        call_plugin(PanicSite::Drop, || drop(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_belongs_to_the_innermost_call_and_else_to_the_plugin_itself() {
        assert_eq!(record_panic("a", Some("echo-rt")), PanicSite::Task);
        assert_eq!(record_panic("b", None), PanicSite::Thread);
        let ((), panicked) = call_plugin(PanicSite::Start, || {
            let (site, panicked) = call_plugin(PanicSite::Drop, || record_panic("c", Some("echo-1-0")));
            assert_eq!((site, panicked.as_deref()), (PanicSite::Drop, Some("c")));
            assert_eq!(record_panic("d", Some("echo-1-0")), PanicSite::Start);
        });
        assert_eq!(panicked.as_deref(), Some("d"));
        assert_eq!(call_plugin(PanicSite::Handle, || ()).1, None, "it is told once");
        assert_eq!(record_panic("e", None), PanicSite::Thread);
    }
}
