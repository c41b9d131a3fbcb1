//! A future of the plugin whose panics are attributed to the call that made it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::instance_services::InstanceServices;
use crate::panic_site::{PanicSite, call_plugin};

/// A future of the plugin. A panic that its output cannot report is reported to [`HostServices::panicked`].
///
/// [`HostServices::panicked`]: crate::HostServices::panicked
pub(crate) struct PluginFuture<F> {
    future: Option<F>,
    site: PanicSite,
    services: Arc<InstanceServices>,
}

impl<F: Future + Unpin> PluginFuture<F> {
    /// `make` calls the plugin for its future.
    pub(crate) fn new(site: PanicSite, services: &Arc<InstanceServices>, make: impl FnOnce() -> F) -> Self {
        let (future, _) = call_plugin(site, make);
        Self { future: Some(future), site, services: Arc::clone(services) }
    }
}

impl<F: Future + Unpin> Future for PluginFuture<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let site = self.site;
        let Some(future) = &mut self.future else { return Poll::Pending };
        let (polled, panicked) = call_plugin(site, || Pin::new(future).poll(cx));
        if let Some(message) = panicked
            && matches!(site, PanicSite::OnError | PanicSite::Drain)
        {
            self.services.panicked(&message);
        }
        polled
    }
}

impl<F> Drop for PluginFuture<F> {
    fn drop(&mut self) {
        let future = self.future.take();
        if let ((), Some(message)) = call_plugin(self.site, || drop(future)) {
            self.services.panicked(&message);
        }
    }
}
