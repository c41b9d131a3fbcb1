//! What is counted in the process of a worker, added to what its host counts.

use std::collections::HashMap;

use prometheus::core::Collector;
use prometheus::proto::{Histogram, Metric, MetricFamily};
use prometheus::{GaugeVec, HistogramVec, IntCounterVec};
use serde::{Deserialize, Serialize};

use super::host_metrics::{Metrics, PROCESSING_BUCKETS};

/// What has changed of one time series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The metric, by its place in the lists below.
    metric: u8,
    labels: Vec<String>,
    change: SampleChange,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum SampleChange {
    /// A counter has grown by so much.
    Counted(u64),
    /// A gauge is this now.
    Is(f64),
    /// A histogram has been given so many values for each of its buckets and beyond, with this sum.
    Observed { buckets: Vec<u64>, sum: f64 },
}

impl Metrics {
    fn counters(&self) -> [&IntCounterVec; 4] {
        [&self.received, &self.sent, &self.job_errors, &self.dead_letters]
    }

    fn histograms(&self) -> [&HistogramVec; 1] {
        [&self.job_seconds]
    }

    fn gauges(&self) -> [&GaugeVec; 1] {
        [&self.plugin_values]
    }

    /// Adds what another process has counted. What does not fit, as from another version of the host, is left out.
    pub fn absorb(&self, samples: &[Sample]) {
        for Sample { metric, labels, change } in samples {
            let (place, labels) = (usize::from(*metric), labels.iter().map(String::as_str).collect::<Vec<_>>());
            match change {
                SampleChange::Counted(by) => {
                    let counter = self.counters().get(place).map(|of| of.get_metric_with_label_values(&labels));
                    counter.into_iter().flatten().for_each(|counter| counter.inc_by(*by));
                }
                SampleChange::Is(value) => {
                    let gauge = self.gauges().get(place).map(|of| of.get_metric_with_label_values(&labels));
                    gauge.into_iter().flatten().for_each(|gauge| gauge.set(*value));
                }
                SampleChange::Observed { buckets, sum } => {
                    let histogram = self.histograms().get(place).map(|of| of.get_metric_with_label_values(&labels));
                    let Some(Ok(histogram)) = histogram else { continue };
                    let local = histogram.local();
                    for (value, times) in spread(buckets, &PROCESSING_BUCKETS, *sum) {
                        (0..times).for_each(|_| local.observe(value));
                    }
                }
            }
        }
    }
}

/// Values that fall into the buckets as often as is said. The sum of all is `sum`, as far as the buckets allow.
fn spread(counts: &[u64], bounds: &[f64], sum: f64) -> Vec<(f64, u64)> {
    let edges = |index: usize| {
        let low = index.checked_sub(1).and_then(|below| bounds.get(below)).copied().unwrap_or(0.0);
        (low, bounds.get(index).copied())
    };
    // How far between its lowest and its highest each value is: the same for all.
    let bounded = || counts.iter().enumerate().map(|(index, count)| (edges(index), *count as f64)).take(bounds.len());
    let (lowest, widths) = bounded().fold((0.0, 0.0), |(lowest, widths), ((low, high), count)| {
        (lowest + low * count, widths + (high.unwrap_or(low) - low) * count)
    });
    let beyond = counts.get(bounds.len()).copied().unwrap_or_default();
    let (last, _) = edges(bounds.len());
    let rest = sum - lowest - last * beyond as f64;
    let share = if widths > 0.0 { (rest / widths).clamp(0.001, 1.0) } else { 0.0 };
    let inside = counts.iter().take(bounds.len()).enumerate().map(|(index, count)| {
        let (low, high) = edges(index);
        (low + (high.unwrap_or(low) - low) * share, *count)
    });
    let left = (rest - widths * share).max(0.0);
    let outside = (beyond > 0).then(|| (last * 1.001 + left / beyond as f64, beyond));
    inside.chain(outside).filter(|(_, count)| *count > 0).collect()
}

/// Remembers what has been passed on.
#[derive(Debug, Default)]
pub struct Exporter {
    counted: HashMap<(u8, Vec<String>), u64>,
    gauges: HashMap<(u8, Vec<String>), f64>,
    observed: HashMap<(u8, Vec<String>), (Vec<u64>, f64)>,
}

impl Exporter {
    /// What has changed since this was last called.
    pub fn samples(&mut self, metrics: &Metrics) -> Vec<Sample> {
        let mut samples = Vec::new();
        for (key, metric) in series(metrics.counters().map(Collector::collect)) {
            let now = metric.get_counter().get_value() as u64;
            let before = self.counted.insert(key.clone(), now).unwrap_or_default();
            if now > before {
                samples.push(sample(key, SampleChange::Counted(now - before)));
            }
        }
        for (key, metric) in series(metrics.gauges().map(Collector::collect)) {
            let now = metric.get_gauge().get_value();
            if self.gauges.insert(key.clone(), now) != Some(now) {
                samples.push(sample(key, SampleChange::Is(now)));
            }
        }
        for (key, metric) in series(metrics.histograms().map(Collector::collect)) {
            let now = buckets(metric.get_histogram());
            let before = self.observed.insert(key.clone(), now.clone()).unwrap_or_default();
            let more = |(index, count): (usize, &u64)| count - before.0.get(index).copied().unwrap_or_default();
            let counts: Vec<u64> = now.0.iter().enumerate().map(more).collect();
            if counts.iter().any(|count| *count > 0) {
                samples.push(sample(key, SampleChange::Observed { buckets: counts, sum: now.1 - before.1 }));
            }
        }
        samples
    }
}

fn sample((metric, labels): (u8, Vec<String>), change: SampleChange) -> Sample {
    Sample { metric, labels, change }
}

type Series = ((u8, Vec<String>), Metric);

fn series<const N: usize>(families: [Vec<MetricFamily>; N]) -> Vec<Series> {
    let mut found = Vec::new();
    for (place, families) in (0_u8..).zip(families) {
        for metric in families.into_iter().flat_map(|family| family.get_metric().to_vec()) {
            // Sorted by their names by the collector; they are put back in the order in which they are declared.
            let labels = metric.get_label().iter().map(|label| (label.name().to_owned(), label.value().to_owned()));
            found.push(((place, declared(labels.collect())), metric));
        }
    }
    found
}

/// The values in the order of declaration. Every metric of the lists has `service`, or the type, first.
fn declared(mut labels: Vec<(String, String)>) -> Vec<String> {
    let rank = |name: &str| {
        ["service", "type", "error_type", "job_type", "reason", "name"].iter().position(|known| *known == name)
    };
    labels.sort_by_key(|(name, _)| rank(name));
    labels.into_iter().map(|(_, value)| value).collect()
}

/// How many values are in each bucket alone and beyond, and their sum.
fn buckets(histogram: &Histogram) -> (Vec<u64>, f64) {
    let mut below = 0;
    let mut counts: Vec<u64> = Vec::new();
    for bucket in histogram.get_bucket() {
        counts.push(bucket.cumulative_count() - below);
        below = bucket.cumulative_count();
    }
    counts.push(histogram.get_sample_count().saturating_sub(below));
    (counts, histogram.get_sample_sum())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_counted_elsewhere_is_counted_here_once() {
        let (child, host) = (Metrics::new().unwrap(), Metrics::new().unwrap());
        let mut exporter = Exporter::default();
        for round in 1..=3_u64 {
            child.received.with_label_values(&["worker-WB", "job_request"]).inc_by(2);
            child.dead_letters.with_label_values(&["WB", "failed"]).inc();
            child.job_errors.with_label_values(&["worker-WB", "job_retry"]).inc();
            child.plugin_values.with_label_values(&["worker-WB", "movies"]).set(round as f64);
            for seconds in [0.00005, 0.0007, 0.0007, 0.3, 7.0] {
                child.job_seconds.with_label_values(&["worker-WB", "job_processing"]).observe(seconds);
            }
            host.absorb(&exporter.samples(&child));
            host.absorb(&exporter.samples(&child));
            assert_eq!(host.received.with_label_values(&["worker-WB", "job_request"]).get(), 2 * round);
            assert_eq!(host.dead_letters.with_label_values(&["WB", "failed"]).get(), round);
            assert_eq!(host.job_errors.with_label_values(&["worker-WB", "job_retry"]).get(), round);
            assert_eq!(host.plugin_values.with_label_values(&["worker-WB", "movies"]).get(), round as f64);
            let [ours, theirs] =
                [&host, &child].map(|metrics| metrics.job_seconds.with_label_values(&["worker-WB", "job_processing"]));
            assert_eq!(ours.get_sample_count(), theirs.get_sample_count());
            let error = (ours.get_sample_sum() - theirs.get_sample_sum()).abs() / theirs.get_sample_sum();
            assert!(error < 0.02, "{} where there are {}", ours.get_sample_sum(), theirs.get_sample_sum());
            let counts =
                |metrics: &Metrics| buckets(metrics.job_seconds.collect()[0].get_metric()[0].get_histogram()).0;
            assert_eq!(counts(&host), counts(&child));
        }
    }
}
