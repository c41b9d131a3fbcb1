//! A job as its body on the wire has it.

use mshost_core::ids::{JobId, WorkerRef};
use mshost_plugin_api::{Payload, Route};

/// What the body of a job says. Attempt, correlation and origin travel beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct WireJob {
    /// `id`
    pub id: JobId,
    /// `workers_list` and `workers_list_id`
    pub route: Route,
    /// `sender`
    pub sender: WorkerRef,
    /// `data`
    pub payload: Payload,
}

impl WireJob {
    /// The job as it is once its target has taken it: one step on, except at the pipeline's last worker.
    #[must_use]
    pub fn taken(mut self) -> Self {
        if let Some(next) = self.route.next() {
            self.route = next;
        }
        self
    }
}
