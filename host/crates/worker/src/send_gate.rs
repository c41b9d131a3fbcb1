//! Holds back what a worker's own tasks send until it has joined the bus. The HTTP edge, for one, serves as soon as it has
//! started, and an answer that came before it can be reached would be refused: no worker available.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mshost_plugin_api::SendError;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a send waits at most. A `start` that waits for what a task of it sends would wait for ever.
const LONGEST: Duration = Duration::from_secs(1);

/// Opens a [`SendGate`]. Dropping it instead refuses the sends that wait.
#[derive(Debug)]
pub(super) struct SendGateOpener(SendGate, watch::Sender<bool>);

/// Where sends wait until the worker has joined the bus. Cloning shares it.
#[derive(Debug, Clone)]
pub(super) struct SendGate {
    // Every send looks here; the channel is for those that wait.
    open: Arc<AtomicBool>,
    opened: watch::Receiver<bool>,
}

/// A gate that is closed.
pub(super) fn closed() -> (SendGateOpener, SendGate) {
    let (opener, opened) = watch::channel(false);
    let gate = SendGate { open: Arc::default(), opened };
    (SendGateOpener(gate.clone(), opener), gate)
}

impl SendGateOpener {
    /// The worker can be reached.
    pub(super) fn open(self) {
        self.0.open.store(true, Ordering::Release);
        self.1.send_replace(true);
    }
}

impl SendGate {
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Waits until it is open.
    ///
    /// # Errors
    /// Where it never will be.
    pub(super) async fn wait_until_open(mut self) -> Result<(), SendError> {
        match timeout(LONGEST, self.opened.wait_for(|open| *open)).await {
            Ok(Err(_)) => Err(SendError::Unavailable("the worker has not started".to_owned())),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_send_that_waits_goes_on_when_the_gate_opens() {
        let (opener, gate) = closed();
        let waiting = gate.clone().wait_until_open();
        tokio::pin!(waiting);
        assert!(!gate.is_open() && waiting.as_mut().now_or_never().is_none());
        opener.open();
        assert_eq!((gate.is_open(), waiting.now_or_never()), (true, Some(Ok(()))));
    }

    #[tokio::test(start_paused = true)]
    async fn no_send_waits_for_a_worker_that_does_not_start_or_for_ever() {
        let (opener, gate) = closed();
        drop(opener);
        assert!(matches!(gate.wait_until_open().await, Err(SendError::Unavailable(_))));
        let (_opener, gate) = closed();
        assert_eq!(gate.wait_until_open().await, Ok(()));
    }
}
