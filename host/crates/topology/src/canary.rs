//! `[host] canary`: how a new version of a plugin proves itself.

use std::time::Duration;

use super::values::{integer, number, positive_duration};
use super::walk::{Fields, Node};

/// A new version first does a share of the jobs next to the old one, and is given up if more of its attempts fail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CanaryConfig {
    /// The most of the jobs of each slot that the new version gets, from 0.001 to 0.9; default 0.1 (`share`).
    pub share: f64,
    /// How long it is looked at; default 30 s (`for`).
    pub span: Duration,
    /// Before so many of its attempts nothing is decided, and a version that has had fewer in the end is accepted; default
    /// 20 (`min_jobs`).
    pub min_jobs: u64,
    /// By how much its share of failed attempts may be above the old version's, from 0 to 1; default 0.05 (`tolerance`).
    pub tolerance: f64,
}

impl Default for CanaryConfig {
    fn default() -> Self {
        Self { share: 0.1, span: Duration::from_secs(30), min_jobs: 20, tolerance: 0.05 }
    }
}

pub(super) fn canary(node: &Node<'_, '_>) -> Option<CanaryConfig> {
    let mut canary = Fields::of(node, "`canary`")?;
    let default = CanaryConfig::default();
    let config = CanaryConfig {
        share: canary.take("share", number(0.001..=0.9)).unwrap_or(default.share),
        span: canary.take("for", positive_duration).unwrap_or(default.span),
        min_jobs: canary.take("min_jobs", integer(1..=1_000_000_000)).unwrap_or(default.min_jobs),
        tolerance: canary.take("tolerance", number(0.0..=1.0)).unwrap_or(default.tolerance),
    };
    canary.finish(|_| None);
    Some(config)
}
