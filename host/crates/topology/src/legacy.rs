//! The original's keys, from the file that `config` names: its `config.json`, or the same keys as TOML.
//!
//! What the topology says itself wins over them, and `BROKER_URL` in the environment over both. Keys that are not the
//! original's are only warned of: the file may be shared with the original, which does not mind them either.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mshost_bus::BusUrl;
use mshost_plugin_api::Codec;
use serde_json::value::RawValue;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostics::{Diagnostic, Diagnostics, Severity};
use super::files;
use super::interpolate::Env;
use super::parse::{Others, hidden, without_echoes};
use super::sections::{A_BUS_URL, bus_url, read_codec};
use super::source::Source;
use super::syntax;
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
    let source = match files::read(&path) {
        Ok(source) => source,
        Err(errors) => {
            unreadable(node, errors, others);
            return Legacy::default();
        }
    };
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let (legacy, source, found) = of_source(source, is_json, node.cx.env);
    others.found.extend(found.into_iter().map(|item| (Arc::clone(&source), item)));
    legacy
}

/// What has no place in that file has one here, where the file is named.
fn unreadable(node: &Node<'_, '_>, errors: Diagnostics, others: &mut Others) {
    let help = "paths are relative to the folder of the topology; leave `config` out if there is no such file";
    for (source, error) in errors.into_items() {
        match error.primary {
            Some(_) => others.found.push((source, error)),
            None => node.cx.report(Diagnostic::error(error.message).at(node.span(), "named here").help(help)),
        }
    }
}

fn of_source(source: Source, is_json: bool, env: Env<'_>) -> (Legacy, Arc<Source>, Vec<Diagnostic>) {
    let (table, syntax) = if is_json { json_table(&source) } else { toml_table(&source) };
    let context = Context::new(&source, env);
    let legacy = keys(Fields::of_table(&context, "the configuration", 0..0, &table));
    let (more, secrets) = context.into_found();
    let found = without_echoes(&source, syntax, more);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Style;

    fn read(text: &str, is_json: bool) -> (Legacy, String) {
        let (legacy, source, found) = of_source(Source::new("config", text), is_json, &|_| None);
        (legacy, Diagnostics::new(&source, found).map_or_else(String::new, |found| found.render(Style::Plain)))
    }

    #[test]
    fn json_and_toml_say_the_same() {
        let json = r#"{"broker_url": "amqp://h", "keepalive": 500, "SystemManager_log": false, "Worker_log": true,
            "data_transfer_protocol": "bson"}"#;
        let toml = "broker_url = 'amqp://h'\nkeepalive = 500\nSystemManager_log = false\nWorker_log = true\n\
            data_transfer_protocol = 'bson'";
        let (legacy, said) = read(json, true);
        assert_eq!((legacy.clone(), said), read(toml, false));
        assert_eq!(legacy.keepalive, Some(Some(Duration::from_millis(500))));
        assert_eq!(legacy.codec, Some(Codec::Bson));
    }

    #[test]
    fn a_dollar_in_json_is_itself() {
        let (legacy, said) = read(r#"{"broker_url": "amqp://u:${X}$$@h"}"#, true);
        assert_eq!(said, "");
        assert!(matches!(legacy.url, Some(BusUrl::Amqp(url)) if url.expose() == "amqp://u:${X}$$@h"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>(), is_json: bool) {
            read(&text, is_json);
        }

        #[test]
        fn no_json_panics(
            key in "broker_url|keepalive|Worker_log|\\PC{0,6}",
            value in "null|true|-?[0-9]{1,30}|1e[0-9]{1,3}|0\\.5|\"[a-z$@:/{}]{0,12}\"|\\[1,\\{\\}\\]|\\{\"a\":1\\}",
            space in "[ \t\r\nä]{0,3}",
        ) {
            let key = serde_json::Value::from(key);
            read(&format!("{space}{{{space}{key}{space}:{space}{value}{space}}}{space}"), true);
        }
    }
}
