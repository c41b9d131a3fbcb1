//! `[worker.config]` of the REST worker. Everything has a default.

use std::num::NonZeroU32;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::units::{Size, Time};

/// What the topology may say about this worker.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RestConfig {
    /// The largest request body, as in `"64KiB"`; 413 beyond.
    pub body_limit: Size,
    /// How long the other workers may take to answer, as in `"10s"`; 504 beyond.
    pub request_timeout: Time,
    /// How long a client may take to send a head or a body, or may leave a connection idle.
    pub read_timeout: Time,
    /// The most requests that wait for an answer; 503 beyond.
    pub max_pending: NonZeroU32,
    /// The most connections; beyond, new ones wait in the kernel's queue.
    pub max_connections: NonZeroU32,
    /// How long an idle connection may still send a request when this worker is being replaced. The answer to it says
    /// `Connection: close`, so that no client meets a connection that closes under its request.
    pub linger: Time,
}

impl Default for RestConfig {
    fn default() -> Self {
        Self {
            body_limit: Size(64 << 10),
            request_timeout: Time(Duration::from_secs(10)),
            read_timeout: Time(Duration::from_secs(30)),
            max_pending: NonZeroU32::MIN.saturating_add(4_095),
            max_connections: NonZeroU32::MIN.saturating_add(999),
            linger: Time(Duration::from_secs(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use schemars::schema_for;

    use super::*;

    #[test]
    fn everything_has_a_default_and_nothing_is_ignored() {
        let config: RestConfig = serde_json::from_str(r#"{"body_limit": "1KiB", "linger": "250ms"}"#).unwrap();
        assert_eq!((config.body_limit, config.linger), (Size(1_024), Time(Duration::from_millis(250))));
        assert_eq!(config.max_pending.get(), 4_096);

        let reason = |config| serde_json::from_str::<RestConfig>(config).unwrap_err().to_string();
        assert!(reason(r#"{"body_limit": 64}"#).contains("expected a string"));
        assert!(reason(r#"{"body_limit": "64"}"#).contains("expected a size like \"64KiB\", found \"64\""));
        assert!(reason(r#"{"linger": "soon"}"#).contains("expected a time like \"10s\", found \"soon\""));
        assert!(reason(r#"{"max_pending": 0}"#).contains("expected a nonzero u32"));
        assert!(reason(r#"{"bodylimit": "1KiB"}"#).contains("unknown field `bodylimit`"));
    }

    /// `mshost inspect` shows the schema, and `mshost check` holds the topology against it.
    #[test]
    fn the_schema_shows_defaults_as_they_are_written() {
        let schema = schema_for!(RestConfig).to_value();
        let of = |key: &str, what: &str| schema["properties"][key][what].clone();
        assert_eq!(of("body_limit", "default"), "64KiB");
        assert_eq!(of("request_timeout", "default"), "10s");
        assert_eq!(of("max_connections", "default"), 1_000);
        assert_eq!(of("body_limit", "type"), "string");
        assert_eq!(schema["additionalProperties"], false);
    }
}
