//! Dead letters that a running host has: asked of its admin server.

use async_trait::async_trait;
use hyper::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;

use super::super::admin_client::AdminClient;
use crate::admin::{
    DeadLetterError, DeadLetterFilter, DeadLetterList, DeadLetterSource, MAX_REQUEUED, PurgeReport, RequeueReport,
    RequeueRequest,
};

/// The path of them all.
const LETTERS: &str = "/api/dead-letters";

/// The dead letters of the host whose admin server is at this address.
pub(super) struct RemoteDeadLetters {
    host: AdminClient,
}

impl RemoteDeadLetters {
    pub(super) fn new(address: String) -> Self {
        Self { host: AdminClient::new(address) }
    }

    pub(super) fn address(&self) -> &str {
        self.host.address()
    }

    /// Whether a host answers.
    pub(super) async fn try_connect(&self) -> Result<(), DeadLetterError> {
        self.host.try_connect().await.map_err(DeadLetterError::Unavailable)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, AdminRequestError> {
        let failed = |message| AdminRequestError { status: None, message };
        let said = self.host.ask(method, path, body).await.map_err(failed)?;
        if said.status == StatusCode::OK {
            return serde_json::from_slice(&said.body).map_err(|error| failed(self.host.broken(&error)));
        }
        match said.error() {
            Some(message) => Err(AdminRequestError { status: Some(said.status), message }),
            None => Err(failed(self.host.broken(&format!("it answers {}", said.status)))),
        }
    }
}

/// Why a request has no useful answer.
struct AdminRequestError {
    status: Option<StatusCode>,
    message: String,
}

impl From<AdminRequestError> for DeadLetterError {
    fn from(AdminRequestError { status, message }: AdminRequestError) -> Self {
        if status == Some(StatusCode::BAD_REQUEST) { Self::Invalid(message) } else { Self::Unavailable(message) }
    }
}

fn question(DeadLetterFilter { worker_type, reason }: &DeadLetterFilter, limit: usize) -> String {
    let mut query = form_urlencoded::Serializer::new(format!("{LETTERS}?limit={limit}"));
    for (key, value) in [("type", worker_type), ("reason", reason)] {
        if let Some(value) = value {
            query.append_pair(key, value);
        }
    }
    query.finish()
}

#[async_trait]
impl DeadLetterSource for RemoteDeadLetters {
    async fn list(&self, filter: &DeadLetterFilter, limit: usize) -> Result<DeadLetterList, DeadLetterError> {
        Ok(self.ask(Method::GET, &question(filter, limit), Vec::new()).await?)
    }

    async fn show(&self, id: &str) -> Result<DeadLetterList, DeadLetterError> {
        let path = format!("{LETTERS}/{}", utf8_percent_encode(id, NON_ALPHANUMERIC));
        match self.ask(Method::GET, &path, Vec::new()).await {
            Ok(list) => Ok(list),
            Err(AdminRequestError { status: Some(StatusCode::NOT_FOUND), .. }) => {
                Ok(DeadLetterList { total: None, truncated: false, letters: Vec::new() })
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn requeue(&self, ids: &[String]) -> Result<RequeueReport, DeadLetterError> {
        let mut report = RequeueReport::default();
        for ids in ids.chunks(MAX_REQUEUED) {
            let body = serde_json::to_vec(&RequeueRequest { ids: ids.to_vec() });
            let body = body.map_err(|error| DeadLetterError::Invalid(error.to_string()))?;
            let asked = self.ask::<RequeueReport>(Method::POST, &format!("{LETTERS}/requeue"), body).await;
            let RequeueReport { sent, refused, unknown } = asked.map_err(|error| {
                let (sent, message) = (report.sent.len(), error.message);
                DeadLetterError::Unavailable(format!("{message} ({sent} were sent again before that)"))
            })?;
            report.sent.extend(sent);
            report.refused.extend(refused);
            report.unknown.extend(unknown);
        }
        Ok(report)
    }

    async fn purge(&self) -> Result<u64, DeadLetterError> {
        let PurgeReport { purged } = self.ask(Method::DELETE, LETTERS, Vec::new()).await?;
        Ok(purged)
    }
}
