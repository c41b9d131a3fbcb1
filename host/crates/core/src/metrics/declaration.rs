//! How a metric is declared: once, with all that the registry and `docs/metrics.md` need.

use prometheus::core::Collector;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// One metric, as it is exposed and described.
#[derive(Debug)]
pub(crate) struct MetricDeclaration {
    pub name: &'static str,
    /// The help text that is exposed.
    pub help: &'static str,
    pub labels: &'static [&'static str],
    /// What is counted or measured, in the plural; empty where it is a switch.
    pub unit: &'static str,
    /// The upper bounds of a histogram's buckets; empty for those of Prometheus.
    pub buckets: &'static [f64],
}

impl MetricDeclaration {
    pub const fn new(name: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self { name, help, labels: &[], unit, buckets: &[] }
    }

    pub const fn labels(self, labels: &'static [&'static str]) -> Self {
        Self { labels, ..self }
    }

    pub const fn buckets(self, buckets: &'static [f64]) -> Self {
        Self { buckets, ..self }
    }

    fn options(&self) -> Opts {
        Opts::new(self.name, self.help)
    }

    fn histogram_options(&self) -> HistogramOpts {
        let options = HistogramOpts::new(self.name, self.help);
        if self.buckets.is_empty() { options } else { options.buckets(self.buckets.to_vec()) }
    }
}

/// A declared metric with its kind and its documentation.
pub(crate) struct DocumentedMetric {
    pub declaration: &'static MetricDeclaration,
    /// As Prometheus calls it.
    pub kind: &'static str,
    /// The lines of its doc comment.
    pub doc: &'static [&'static str],
}

/// A kind of metric.
pub(crate) trait MetricKind: Collector + Clone + Sized + 'static {
    /// As Prometheus calls it.
    const NAME: &'static str;

    fn create(declaration: &MetricDeclaration) -> prometheus::Result<Self>;

    /// A metric that is exposed from now on.
    fn register(declaration: &MetricDeclaration, registry: &Registry) -> prometheus::Result<Self> {
        let metric = Self::create(declaration)?;
        registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

macro_rules! metric_kinds {
    ($($metric:ty: $name:literal, $create:expr;)+) => {
        $(
            impl MetricKind for $metric {
                const NAME: &'static str = $name;

                fn create(declaration: &MetricDeclaration) -> prometheus::Result<Self> {
                    let create: fn(&MetricDeclaration) -> prometheus::Result<Self> = $create;
                    create(declaration)
                }
            }
        )+
    };
}

metric_kinds! {
    IntCounter: "counter", |declared| Self::with_opts(declared.options());
    IntCounterVec: "counter", |declared| Self::new(declared.options(), declared.labels);
    IntGauge: "gauge", |declared| Self::with_opts(declared.options());
    IntGaugeVec: "gauge", |declared| Self::new(declared.options(), declared.labels);
    GaugeVec: "gauge", |declared| Self::new(declared.options(), declared.labels);
    Histogram: "histogram", |declared| Self::with_opts(declared.histogram_options());
    HistogramVec: "histogram", |declared| Self::new(declared.histogram_options(), declared.labels);
}

/// Declares the metrics of a process: a struct with a field for each, and the list of all.
macro_rules! metrics {
    (
        $(#[$attribute:meta])*
        $name:ident;
        $(
            $(#[doc = $doc:literal])+
            $field:ident: $kind:ty = $declaration:expr;
        )+
    ) => {
        $(#[$attribute])*
        pub struct $name {
            registry: ::prometheus::Registry,
            $(
                $(#[doc = $doc])+
                pub $field: $kind,
            )+
        }

        impl $name {
            /// All metrics, at zero, in a registry of their own.
            fn register_all(registry: ::prometheus::Registry) -> ::prometheus::Result<Self> {
                $(
                    let $field = {
                        const DECLARATION: &MetricDeclaration = &$declaration;
                        <$kind as MetricKind>::register(DECLARATION, &registry)?
                    };
                )+
                Ok(Self { registry, $($field),+ })
            }

            /// What each metric says of itself, in the order of their declarations.
            #[cfg(test)]
            fn descriptions(&self) -> Vec<Vec<&::prometheus::core::Desc>> {
                vec![$(::prometheus::core::Collector::desc(&self.$field)),+]
            }
        }

        /// Every metric, in the order of their declarations.
        pub(crate) const DECLARED: &[DocumentedMetric] = &[
            $(
                DocumentedMetric {
                    declaration: {
                        const DECLARATION: &MetricDeclaration = &$declaration;
                        DECLARATION
                    },
                    kind: <$kind as MetricKind>::NAME,
                    doc: &[$($doc),+],
                }
            ),+
        ];
    };
}

pub(crate) use metrics;
