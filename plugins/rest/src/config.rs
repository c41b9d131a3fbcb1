//! `[worker.config]` of the REST worker. Everything has a default.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::units;

/// What the topology may say about this worker.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RestConfig {
    /// The largest request body, as in `"64KiB"`; 413 beyond.
    #[serde(deserialize_with = "units::size")]
    #[schemars(with = "String")]
    pub body_limit: usize,
    /// How long the other workers may take to answer, as in `"10s"`; 504 beyond.
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "String")]
    pub request_timeout: Duration,
    /// How long a client may take to send a head or a body, and how long a connection may idle.
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "String")]
    pub read_timeout: Duration,
    /// The most requests that wait for an answer; 503 beyond.
    pub max_pending: usize,
    /// The most connections; beyond, new ones wait in the kernel's queue.
    pub max_connections: usize,
    /// How long an idle connection may still send a request when this worker is being replaced. The answer to it says
    /// `Connection: close`, so that no client meets a connection that closes under its request.
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "String")]
    pub linger: Duration,
}

impl Default for RestConfig {
    fn default() -> Self {
        Self {
            body_limit: 64 << 10,
            request_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            max_pending: 4_096,
            max_connections: 1_000,
            linger: Duration::from_secs(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_a_default_and_nothing_is_ignored() {
        let config: RestConfig = serde_json::from_str(r#"{"body_limit": "1KiB", "linger": "250ms"}"#).unwrap();
        assert_eq!((config.body_limit, config.linger), (1_024, Duration::from_millis(250)));
        assert_eq!(config.max_pending, RestConfig::default().max_pending);

        let error = serde_json::from_str::<RestConfig>(r#"{"body_limit": 64}"#).unwrap_err().to_string();
        assert!(error.contains("expected a string"), "{error}");
        let error = serde_json::from_str::<RestConfig>(r#"{"bodylimit": "1KiB"}"#).unwrap_err().to_string();
        assert!(error.contains("unknown field `bodylimit`"), "{error}");
    }
}
