//! What travels on the bus, as this plugin writes and reads it. The other plugins have their own view of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A request, on its way to `WD:*`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Question {
    /// The HTTP method.
    pub method: &'static str,
    /// What the path, the query and the body say.
    pub params: Params,
    /// Which request this is; comes back in the [`Answer`].
    #[serde(rename = "resId")]
    pub res_id: String,
    /// When it came, in milliseconds since the epoch.
    pub time: u64,
}

/// The parameters of a [`Question`].
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Params {
    /// This movie only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<i64>,
    /// The movies after this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// A movie to store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Answer {
    /// The body of the response.
    #[serde(default)]
    pub content: Value,
    /// The [`Question`]'s.
    #[serde(rename = "resId")]
    pub res_id: String,
    /// In place of content: what is wrong.
    #[serde(default)]
    pub error: Option<String>,
    /// The HTTP status that goes with `error`.
    #[serde(default)]
    pub status: Option<u16>,
    /// Who handled it on its way; shown as `x-served-by`.
    #[serde(default)]
    pub via: Option<String>,
}

/// All that is read of a job that failed: each message of the pipeline carries it.
#[derive(Debug, Clone, Deserialize)]
pub struct FailedJob {
    /// The [`Question`]'s.
    #[serde(rename = "resId")]
    pub res_id: String,
}
