//! The original's keys, from the file that `config` names: its `config.json`, or the same keys as TOML.
//!
//! What the topology says itself wins over them, and `BROKER_URL` in the environment over both. Keys that are not the
//! original's are only warned of: the file may be shared with the original, which does not mind them either.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mshost_plugin_api::Codec;
use serde_json::value::RawValue;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostics::{Diagnostic, Severity};
use super::interpolate::Env;
use super::parse::{Others, hidden, read};
use super::sections::{A_BUS_URL, bus_url, read_codec};
use super::source::Source;
use super::syntax;
use super::url::BusUrl;
use super::values::{boolean, integer, path_in};
use super::walk::{Context, Fields, Node};

/// What the original's keys say, each where it is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Legacy {
    /// `broker_url`.
    pub url: Option<BusUrl>,
    /// `keepalive` in milliseconds; 0 is none.
    pub keepalive: Option<Option<Duration>>,
    /// `SystemManager_log`.
    pub manager_log: Option<bool>,
    /// `Worker_log`.
    pub worker_log: Option<bool>,
    /// `data_transfer_protocol`.
    pub codec: Option<Codec>,
}

/// The longest keepalive in milliseconds, a day: what is longer keeps nobody alive.
const MAX_KEEPALIVE: u64 = 24 * 3600 * 1000;

/// `BROKER_URL`, where it is set and not empty.
pub(super) fn url_of_environment(cx: &Context<'_>) -> Option<BusUrl> {
    let text = (cx.env)("BROKER_URL").filter(|text| !text.is_empty())?;
    match BusUrl::parse(&text) {
        Ok(url) => Some(url),
        Err(why) => {
            let message = format!("the environment variable `BROKER_URL`: expected {A_BUS_URL}, but {why}");
            cx.report(Diagnostic::error(message).help("correct it, or unset it to use the topology's bus"));
            None
        }
    }
}

/// Reads the file that `config` names.
pub(super) fn load(node: &Node<'_, '_>, folder: &Path, others: &mut Others) -> Legacy {
    let Some(path) = path_in(folder)(node) else { return Legacy::default() };
    others.files.push(path.clone());
    let source = match read(&path) {
        Ok(source) => source,
        Err((source, error)) if error.primary.is_some() => {
            others.found.push((Arc::new(source), error));
            return Legacy::default();
        }
        Err((_, error)) => {
            let help = "paths are relative to the folder of the topology; leave `config` out if there is no such file";
            node.cx.report(Diagnostic::error(error.message).at(node.span(), "named here").help(help));
            return Legacy::default();
        }
    };
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let (legacy, source, found) = of_source(source, is_json, node.cx.env);
    others.found.extend(found.into_iter().map(|item| (Arc::clone(&source), item)));
    legacy
}

fn of_source(source: Source, is_json: bool, env: Env<'_>) -> (Legacy, Arc<Source>, Vec<Diagnostic>) {
    let (table, mut found) = if is_json { json_table(&source) } else { toml_table(&source) };
    let context = Context::new(&source, env);
    let legacy = keys(Fields::of_table(&context, "the configuration", 0..0, &table));
    let (more, secrets) = context.into_found();
    if found.is_empty() {
        found = more;
    }
    drop(table);
    (legacy, hidden(source, secrets), found)
}

fn keys(mut fields: Fields<'_, '_>) -> Legacy {
    let legacy = Legacy {
        url: fields.take("broker_url", bus_url),
        keepalive: fields
            .take("keepalive", integer(0..=MAX_KEEPALIVE))
            .map(|millis| (millis > 0).then(|| Duration::from_millis(millis))),
        manager_log: fields.take("SystemManager_log", boolean),
        worker_log: fields.take("Worker_log", boolean),
        codec: fields.take("data_transfer_protocol", read_codec),
    };
    fields.finish_as(Severity::Warning, |_| None);
    legacy
}

fn toml_table(source: &Source) -> (DeTable<'_>, Vec<Diagnostic>) {
    let (table, errors) = DeTable::parse_recoverable(source.text());
    let found = syntax::diagnostics(source, table.get_ref(), &errors);
    (table.into_inner(), found)
}

/// The keys of a JSON object as a TOML table with the places that they have in the JSON text, so that one set of readers
/// serves both.
fn json_table(source: &Source) -> (DeTable<'_>, Vec<Diagnostic>) {
    let text = source.text();
    let entries: BTreeMap<Cow<'_, str>, &RawValue> = match serde_json::from_str(text) {
        Ok(entries) => entries,
        Err(error) => {
            let at = offset(text, error.line(), error.column());
            let message = error.to_string();
            let reason = message.split(" at line ").next().unwrap_or_default();
            let found = Diagnostic::error("this is not a JSON object of settings").at(at..at + 1, reason);
            return (DeTable::new(), vec![found]);
        }
    };
    let mut table = DeTable::new();
    for (key, raw) in entries {
        let start = raw.get().as_ptr() as usize - text.as_ptr() as usize;
        let span = start..start + raw.get().len();
        // The key stands before its value; found from there backwards, it cannot be another one.
        let quoted = format!("\"{key}\"");
        let key_span = text[..start].rfind(&quoted).map_or(span.clone(), |at| at..at + quoted.len());
        if let Some(value) = json_value(raw.get()) {
            table.insert(Spanned::new(key_span, key), Spanned::new(span, value));
        }
    }
    (table, Vec::new())
}

/// `None` for `null`, which is as good as no key.
fn json_value(raw: &str) -> Option<DeValue<'_>> {
    Some(match serde_json::from_str(raw).ok()? {
        serde_json::Value::Null => return None,
        // `${` means nothing in JSON, which the original reads as it stands.
        serde_json::Value::String(text) => DeValue::String(Cow::Owned(text.replace('$', "$$"))),
        serde_json::Value::Bool(value) => DeValue::Boolean(value),
        // JSON's numbers are TOML's too.
        serde_json::Value::Number(_) => DeValue::parse(raw).ok()?.into_inner(),
        serde_json::Value::Array(_) => DeValue::Array(toml::de::DeArray::default()),
        serde_json::Value::Object(_) => DeValue::Table(DeTable::new()),
    })
}

/// The byte that serde_json means: lines from 1, columns in bytes from 1 (0 at a line's start).
fn offset(text: &str, line: usize, column: usize) -> usize {
    let line_start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    (line_start + column.saturating_sub(1)).min(text.len())
}
