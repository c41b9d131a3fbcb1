//! Log of the child: to its standard error, one line for each event, written at once so that nothing is lost in a crash.

use std::fmt;
use std::io::Write;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::ipc::log_record::{LOG_RECORD_PREFIX, LogRecord};

/// Installs the log, up to a level from 0 for nothing to 5 for everything.
pub(super) fn init(level: u8) {
    let most = match level {
        0 => LevelFilter::OFF,
        1 => LevelFilter::ERROR,
        2 => LevelFilter::WARN,
        3 => LevelFilter::INFO,
        4 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let subscriber = tracing_subscriber::registry().with(StderrLayer.with_filter(most));
    // An error means that it is installed.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Writes a line that is not a log event.
pub(super) fn write_line(text: &str) {
    // Lost where the host is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The layer that writes log events to standard error.
struct StderrLayer;

impl<S: Subscriber> Layer<S> for StderrLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut collector = FieldCollector::default();
        event.record(&mut collector);
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => 1,
            tracing::Level::WARN => 2,
            tracing::Level::INFO => 3,
            tracing::Level::DEBUG => 4,
            tracing::Level::TRACE => 5,
        };
        let FieldCollector { message, fields } = collector;
        let line = LogRecord { level, target: event.metadata().target().to_owned(), message, fields };
        let Ok(json) = serde_json::to_string(&line) else { return };
        // One write, which other threads do not come between.
        let _ = std::io::stderr().write_all(format!("{LOG_RECORD_PREFIX}{json}\n").as_bytes());
    }
}

/// Collector of the fields of a log event.
#[derive(Default)]
struct FieldCollector {
    message: String,
    fields: Vec<(String, String)>,
}

impl Visit for FieldCollector {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}

impl FieldCollector {
    fn add(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
        } else {
            self.fields.push((field.name().to_owned(), value));
        }
    }
}
