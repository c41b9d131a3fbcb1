//! Panic boundary: a panic of plugin code becomes a message.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

use crate::runtime::InPoll;

/// A future of the plugin that is polled on a thread of the host: inside the plugin's runtime, with panics caught. Once it
/// has finished or panicked it is dropped in place, with panics caught.
pub(crate) struct Guarded<F, R> {
    future: Option<F>,
    runtime: Handle,
    panicked: fn(String) -> R,
}

impl<F: Future<Output = R>, R> Guarded<F, R> {
    /// Wraps `future`; `panicked` makes the outcome of a panic.
    pub(crate) fn new(runtime: Handle, panicked: fn(String) -> R, future: F) -> Self {
        Self { future: Some(future), runtime, panicked }
    }
}

impl<F: Future<Output = R>, R> Future for Guarded<F, R> {
    type Output = R;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        // SAFETY: `future` is pinned whenever `self` is: it is reached only through this projection and dropped only in
        // place, and `Guarded` is `Unpin` only where F is. The other fields are not pinned; nothing moves out of them.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above.
        let mut slot = unsafe { Pin::new_unchecked(&mut this.future) };
        let _inside = InPoll::enter(&this.runtime);
        let outcome = fenced(|| {
            let Some(future) = slot.as_mut().as_pin_mut() else { return Poll::Pending };
            let polled = future.poll(cx);
            if polled.is_ready() {
                slot.set(None);
            }
            polled
        });
        outcome.unwrap_or_else(|message| {
            // What is left of it may panic once more.
            if let Err(again) = fenced(|| slot.set(None)) {
                tracing::error!("dropping a handler that had panicked panicked again: {again}");
            }
            Poll::Ready((this.panicked)(message))
        })
    }
}

impl<F, R> Drop for Guarded<F, R> {
    fn drop(&mut self) {
        if self.future.is_none() {
            return;
        }
        let _inside = InPoll::enter(&self.runtime);
        // Assigning drops the future where it is, as pinning demands.
        if let Err(message) = fenced(|| self.future = None) {
            tracing::error!("dropping a cancelled handler panicked: {message}");
        }
    }
}

/// Runs plugin code and catches its panic.
///
/// # Errors
/// The panic's message and place.
pub fn fenced<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(body)).map_err(panic_message)
}

/// The message of a panic, with the place that the panic hook noted. Drops the payload, whose drop may panic, too.
fn panic_message(payload: Box<dyn Any + Send>) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(the panic carries no text)".to_owned());
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // A payload whose drop panics has to stay.
        std::mem::forget(again);
    }
    match crate::log::take_panic_place() {
        Some(place) => format!("panicked at {place}: {text}"),
        None => format!("panicked: {text}"),
    }
}
