//! Reads the configuration of MicroServices.js that `config` names: its `config.json`, or the same keys as TOML.
//!
//! What the topology says itself wins over it, and `BROKER_URL` in the environment over both. Unknown keys are only warned
//! of: the file may be shared with MicroServices.js, which does not mind them either.

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

use crate::declaration::ReadableKind as _;
use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::interpolation::Environment;
use crate::keys::{file, msjs};
use crate::kinds::A_BUS_URL;
use crate::read_context::{Findings, ReadContext};
use crate::source::SourceText;
use crate::table_reader::TableReader;
use crate::value_node::ValueNode;
use crate::{files, syntax};

/// What a configuration of MicroServices.js says, each key where it is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MsjsConfig {
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

/// `BROKER_URL`, where it is set and not empty.
pub(crate) fn url_of_environment(cx: &ReadContext<'_>) -> Option<BusUrl> {
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

/// Reads the file that `config` names, where it does.
pub(crate) fn read(root: &mut TableReader<'_, '_>) -> MsjsConfig {
    let Some(node) = root.node(&file::CONFIG) else { return MsjsConfig::default() };
    let Some(path) = file::CONFIG.kind.read(&node) else { return MsjsConfig::default() };
    node.cx.note_file(path.clone());
    let source = match files::read(&path) {
        Ok(source) => source,
        Err(errors) => {
            report_unreadable(&node, errors);
            return MsjsConfig::default();
        }
    };
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let (config, source, found) = of_source(source, is_json, node.cx.env);
    node.cx.report_in(&source, found);
    config
}

/// What has no place in that file has one here, where the file is named.
fn report_unreadable(node: &ValueNode<'_, '_>, errors: Diagnostics) {
    let help = "paths are relative to the folder of the topology; leave `config` out if there is no such file";
    for (source, error) in errors.into_items() {
        match error.primary {
            Some(_) => node.cx.report_in(&source, [error]),
            None => node.cx.report(Diagnostic::error(error.message).at(node.span(), "named here").help(help)),
        }
    }
}

fn of_source(
    source: SourceText,
    is_json: bool,
    env: Environment<'_>,
) -> (MsjsConfig, Arc<SourceText>, Vec<Diagnostic>) {
    let (table, syntax_errors) = if is_json { json_table(&source) } else { toml_table(&source) };
    // No key of it is a path.
    let context = ReadContext::new(&source, Path::new(""), env);
    let config = read_keys(TableReader::of_table(&context, &msjs::SECTION, 0..0, &table));
    let Findings { diagnostics, secrets, .. } = context.into_findings();
    let found = syntax::without_echoes(&source, syntax_errors, diagnostics);
    drop(table);
    (config, source.without_secrets(secrets), found)
}

fn read_keys(mut table: TableReader<'_, '_>) -> MsjsConfig {
    let config = MsjsConfig {
        url: table.find(&msjs::BROKER_URL),
        keepalive: table.find(&msjs::KEEPALIVE),
        manager_log: table.find(&msjs::MANAGER_LOG),
        worker_log: table.find(&msjs::WORKER_LOG),
        codec: table.find(&msjs::DATA_TRANSFER_PROTOCOL),
    };
    table.finish();
    config
}

fn toml_table(source: &SourceText) -> (DeTable<'_>, Vec<Diagnostic>) {
    let (table, errors) = DeTable::parse_recoverable(source.text());
    let found = syntax::diagnostics(source, table.get_ref(), &errors);
    (table.into_inner(), found)
}

/// The keys of a JSON object as a TOML table with the places that they have in the JSON text, so that one set of readers
/// serves both.
fn json_table(source: &SourceText) -> (DeTable<'_>, Vec<Diagnostic>) {
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
        // `${` means nothing in JSON, which MicroServices.js reads as it stands.
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
    use crate::RenderStyle;

    fn read(text: &str, is_json: bool) -> (MsjsConfig, String) {
        let (config, source, found) = of_source(SourceText::new("config", text), is_json, &|_| None);
        (config, Diagnostics::new(&source, found).map_or_else(String::new, |found| found.render(RenderStyle::Plain)))
    }

    #[test]
    fn json_and_toml_say_the_same() {
        let json = r#"{"broker_url": "amqp://h", "keepalive": 500, "SystemManager_log": false, "Worker_log": true,
            "data_transfer_protocol": "bson"}"#;
        let toml = "broker_url = 'amqp://h'\nkeepalive = 500\nSystemManager_log = false\nWorker_log = true\n\
            data_transfer_protocol = 'bson'";
        let (config, said) = read(json, true);
        assert_eq!((config.clone(), said), read(toml, false));
        assert_eq!(config.keepalive, Some(Some(Duration::from_millis(500))));
        assert_eq!(config.codec, Some(Codec::Bson));
    }

    #[test]
    fn a_dollar_in_json_is_itself() {
        let (config, said) = read(r#"{"broker_url": "amqp://u:${X}$$@h"}"#, true);
        assert_eq!(said, "");
        assert!(matches!(config.url, Some(BusUrl::Amqp(url)) if url.expose() == "amqp://u:${X}$$@h"));
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
