//! Whether a worker's plugin has panicked.

use std::sync::Arc;

use tokio::sync::watch;

use super::worker_state::StartFailure;

/// Tells a worker's task of a panic of its plugin. Only the first counts. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(super) struct PanicSignal(Arc<watch::Sender<Option<StartFailure>>>);

impl PanicSignal {
    /// The plugin has panicked.
    pub(super) fn notify(&self, message: &str) {
        self.0.send_if_modified(|raised| {
            let first = raised.is_none();
            if first {
                *raised = Some(StartFailure(format!("its plugin panicked: {message}")));
            }
            first
        });
    }

    /// Returns once the plugin has panicked.
    pub(super) async fn notified(&self) -> StartFailure {
        let mut watched = self.0.subscribe();
        // The sender is this.
        match watched.wait_for(Option::is_some).await.map(|raised| raised.clone()) {
            Ok(Some(failure)) => failure,
            _ => std::future::pending().await,
        }
    }
}
