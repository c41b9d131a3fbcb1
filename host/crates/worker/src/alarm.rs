//! Whether a worker's plugin has panicked.

use std::sync::Arc;

use tokio::sync::watch;

use super::state::StartFailure;

/// Raised by whoever hears of a panic, heard by the worker's life. Only the first counts. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(super) struct Alarm(Arc<watch::Sender<Option<StartFailure>>>);

impl Alarm {
    /// The plugin has panicked.
    pub(super) fn raise(&self, message: &str) {
        self.0.send_if_modified(|raised| {
            let first = raised.is_none();
            if first {
                *raised = Some(StartFailure(format!("its plugin panicked: {message}")));
            }
            first
        });
    }

    /// Returns once it has been raised.
    pub(super) async fn raised(&self) -> StartFailure {
        let mut watched = self.0.subscribe();
        // The sender is this.
        match watched.wait_for(Option::is_some).await.map(|raised| raised.clone()) {
            Ok(Some(failure)) => failure,
            _ => std::future::pending().await,
        }
    }
}
