//! The child's log goes to its standard error, one line an event, written at once: what was said before a crash is heard.

use std::fmt;
use std::io::Write;

use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Begins a line that is an event. Whatever else is there was written by the plugin, or by the system.
pub(crate) const EVENT: char = '\u{1e}';

/// An event, as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LogLine {
    /// From 1 for an error to 5 for a trace.
    pub(crate) level: u8,
    pub(crate) target: String,
    pub(crate) message: String,
    pub(crate) fields: Vec<(String, String)>,
}

/// Logs from here on, up to a level from 0 for nothing to 5 for everything.
pub(super) fn init(level: u8) {
    let most = match level {
        0 => LevelFilter::OFF,
        1 => LevelFilter::ERROR,
        2 => LevelFilter::WARN,
        3 => LevelFilter::INFO,
        4 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let subscriber = tracing_subscriber::registry().with(ToHost.with_filter(most));
    // Nothing has logged before.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Says something that is not an event.
pub(super) fn say(text: &str) {
    // Where the host is gone, nobody hears it.
    let _ = writeln!(std::io::stderr(), "{text}");
}

struct ToHost;

impl<S: Subscriber> Layer<S> for ToHost {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => 1,
            tracing::Level::WARN => 2,
            tracing::Level::INFO => 3,
            tracing::Level::DEBUG => 4,
            tracing::Level::TRACE => 5,
        };
        let Said { message, fields } = said;
        let line = LogLine { level, target: event.metadata().target().to_owned(), message, fields };
        let Ok(json) = serde_json::to_string(&line) else { return };
        // One write, which other threads do not come between.
        let _ = std::io::stderr().write_all(format!("{EVENT}{json}\n").as_bytes());
    }
}

#[derive(Default)]
struct Said {
    message: String,
    fields: Vec<(String, String)>,
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.note(field, format!("{value:?}"));
    }
}

impl Said {
    fn note(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
        } else {
            self.fields.push((field.name().to_owned(), value));
        }
    }
}
