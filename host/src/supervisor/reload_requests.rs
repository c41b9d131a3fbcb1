//! Requests of the admin server to the reconcile loop.

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use crate::admin::{ReloadError, ReloadReport, ReloadSource};

/// How many may wait. Each is an HTTP request, which gives up after a while.
const WAITING: usize = 16;

/// A request, with the channel for its answer.
pub(super) enum ReloadRequest {
    /// Read everything anew and make it so.
    Reload(oneshot::Sender<ReloadReport>),
    /// Say what that would change, with this text in place of the topology file where there is one.
    Preview(Option<String>, oneshot::Sender<ReloadReport>),
}

/// The sending end of the requests.
pub(super) struct ReloadRequester(mpsc::Sender<ReloadRequest>);

impl ReloadRequester {
    pub(super) fn new() -> (Self, mpsc::Receiver<ReloadRequest>) {
        let (sender, requests) = mpsc::channel(WAITING);
        (Self(sender), requests)
    }

    async fn ask(
        &self,
        request: impl FnOnce(oneshot::Sender<ReloadReport>) -> ReloadRequest,
    ) -> Result<ReloadReport, ReloadError> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(request(answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                ReloadError(format!("{WAITING} reloads and previews wait already: ask again when they are done"))
            }
            mpsc::error::TrySendError::Closed(_) => shutting_down(),
        })?;
        answered.await.map_err(|_| shutting_down())
    }
}

#[async_trait]
impl ReloadSource for ReloadRequester {
    async fn reload(&self) -> Result<ReloadReport, ReloadError> {
        self.ask(ReloadRequest::Reload).await
    }

    async fn preview(&self, topology: Option<String>) -> Result<ReloadReport, ReloadError> {
        self.ask(|answer| ReloadRequest::Preview(topology, answer)).await
    }
}

fn shutting_down() -> ReloadError {
    ReloadError("the host is shutting down".to_owned())
}
