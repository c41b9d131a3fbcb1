//! The format of a log line.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::SystemTime;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::escape::Escaped;
use super::settings::LogFormat;

/// The style of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum LineStyle {
    Plain,
    Coloured,
    Json,
}

impl LineStyle {
    pub(super) fn of(format: LogFormat, terminal: bool) -> Self {
        match format {
            LogFormat::Json => Self::Json,
            LogFormat::Text if terminal => Self::Coloured,
            LogFormat::Text => Self::Plain,
        }
    }
}

/// A [`LineStyle`] that can be changed while lines are written.
#[derive(Debug)]
pub(super) struct LineStyleCell(AtomicU8);

impl LineStyleCell {
    pub(super) fn new(style: LineStyle) -> Self {
        Self(AtomicU8::new(style as u8))
    }

    pub(super) fn set(&self, style: LineStyle) {
        self.0.store(style as u8, Ordering::Relaxed);
    }

    fn get(&self) -> LineStyle {
        match self.0.load(Ordering::Relaxed) {
            style if style == LineStyle::Json as u8 => LineStyle::Json,
            style if style == LineStyle::Coloured as u8 => LineStyle::Coloured,
            _ => LineStyle::Plain,
        }
    }
}

/// Writes events as `TIME LEVEL part: message key=value … span{key=value}`, or as JSON.
pub(super) struct LineFormat {
    style: Arc<LineStyleCell>,
}

/// Writes the fields of spans, the same in every style: `key=value key="two words"`.
pub(super) struct FieldFormat;

impl LineFormat {
    pub(super) fn new(style: Arc<LineStyleCell>) -> Self {
        Self { style }
    }
}

impl<'writer> FormatFields<'writer> for FieldFormat {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut text = Text::default();
        fields.record(&mut text);
        writer.write_str(text.message_and_fields().trim_start())
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> FormatEvent<S, FieldFormat> for LineFormat {
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, FieldFormat>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        let style = self.style.get();
        if style == LineStyle::Json {
            return write_json(ctx, out, event, &time.to_string());
        }
        let meta = event.metadata();
        let mut text = Text::default();
        event.record(&mut text);
        let part = part(meta.target());
        if style == LineStyle::Coloured {
            let colour = colour(meta.level());
            write!(out, "\x1b[2m{time}\x1b[0m \x1b[{colour}m{:5}\x1b[0m \x1b[2m{part}:\x1b[0m", meta.level())?;
        } else {
            write!(out, "{time} {:5} {part}:", meta.level())?;
        }
        out.write_str(&text.message_and_fields())?;
        for span in spans(ctx) {
            write!(out, " {span}")?;
        }
        writeln!(out)
    }
}

fn write_json<S: Subscriber + for<'a> LookupSpan<'a>>(
    ctx: &FmtContext<'_, S, FieldFormat>,
    mut out: Writer<'_>,
    event: &Event<'_>,
    time: &str,
) -> fmt::Result {
    let meta = event.metadata();
    let mut json = Json::default();
    event.record(&mut json);
    let mut line = Map::new();
    line.insert("time".into(), time.into());
    line.insert("level".into(), meta.level().as_str().into());
    line.insert("target".into(), meta.target().into());
    line.insert("message".into(), json.message.into());
    if !json.fields.is_empty() {
        line.insert("fields".into(), Value::Object(json.fields));
    }
    let spans: Vec<Value> = spans(ctx).into_iter().map(Value::String).collect();
    if !spans.is_empty() {
        line.insert("spans".into(), spans.into());
    }
    writeln!(out, "{}", Value::Object(line))
}

/// The spans around an event, the outermost first, as `name{fields}`.
fn spans<S: Subscriber + for<'a> LookupSpan<'a>>(ctx: &FmtContext<'_, S, FieldFormat>) -> Vec<String> {
    let describe = |span: tracing_subscriber::registry::SpanRef<'_, S>| {
        let extensions = span.extensions();
        let fields = extensions.get::<FormattedFields<FieldFormat>>().map_or("", |fields| fields.fields.as_str());
        if fields.is_empty() { span.name().to_owned() } else { format!("{}{{{fields}}}", span.name()) }
    };
    ctx.event_scope().map(|scope| scope.from_root().map(describe).collect()).unwrap_or_default()
}

/// `manager` for `mshost::manager::registry`; the crate's name for others, plugins' crates among them.
fn part(target: &str) -> &str {
    let inside = target.strip_prefix("mshost::").or_else(|| target.strip_prefix("plugin::")).unwrap_or(target);
    inside.split("::").next().unwrap_or(inside)
}

fn colour(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "1;31",
        Level::WARN => "33",
        Level::INFO => "32",
        Level::DEBUG => "34",
        Level::TRACE => "35",
    }
}

/// The name of the field that is the event's message.
const MESSAGE: &str = "message";

/// Collects fields as escaped text.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    /// Each part is preceded by a space.
    fn message_and_fields(&self) -> String {
        let space = if self.message.is_empty() { "" } else { " " };
        format!("{space}{}{}", self.message, self.fields)
    }

    /// Quotes what would run into its neighbours; escapes what is not quoted.
    fn add(&mut self, field: &Field, value: &str) {
        if field.name() == MESSAGE {
            let _ = Escaped(&mut self.message).write_str(value);
            return;
        }
        let _ = write!(self.fields, " {}=", field.name());
        if value.is_empty() || value.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '=' | '{' | '}')) {
            let _ = write!(Escaped(&mut self.fields), "\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
        } else {
            let _ = Escaped(&mut self.fields).write_str(value);
        }
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

/// Collects fields as JSON, which escapes by itself.
#[derive(Default)]
struct Json {
    message: String,
    fields: Map<String, Value>,
}

impl Json {
    fn add(&mut self, field: &Field, value: Value) {
        match value {
            Value::String(text) if field.name() == MESSAGE => self.message = text,
            value => {
                self.fields.insert(field.name().to_owned(), value);
            }
        }
    }
}

impl Visit for Json {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }
}
