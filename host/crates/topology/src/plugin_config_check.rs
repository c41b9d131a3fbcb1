//! `[worker.config]` against the JSON Schema that its plugin exports.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{JsonType, ValidationError};
use mshost_plugin_api::Manifest;
use serde_json::Value;

use super::config::{Topology, WorkerConfig};
use super::diagnostics::Diagnostic;
use super::plugin_config::join;
use super::read_context::Span;
use super::suggest;

/// More errors of one config are echoes.
const MAX_ERRORS: usize = 20;

/// Checks the worker at `worker_index` against what its plugin says of itself: that it has such a worker, and what
/// configuration it takes.
///
/// # Panics
/// Where the topology has no such worker.
#[must_use]
pub fn check_worker(topology: &Topology, worker_index: usize, manifest: &Manifest) -> Vec<Diagnostic> {
    let worker = &topology.workers[worker_index];
    if let Some(offered) = manifest.workers.iter().find(|offered| *offered.worker_type == *worker.worker_type) {
        return check_config(topology, worker_index, &offered.schema);
    }
    let offered: Vec<_> = manifest.workers.iter().map(|offered| format!("`{}`", offered.worker_type)).collect();
    let message = format!("the plugin `{}` has no worker of type `{}`", worker.plugin, worker.worker_type);
    let help = format!("it has {}", offered.join(", "));
    vec![Diagnostic::error(message).at(worker.spans.worker_type.clone(), "no such worker").help(help)]
}

/// Checks the config of the worker at `worker_index` against its plugin's schema; empty where it fits. Render with the
/// topology's `source`. No value is quoted: it may come from the environment and be a secret.
///
/// # Panics
/// Where the topology has no such worker.
#[must_use]
pub fn check_config(topology: &Topology, worker_index: usize, schema: &Value) -> Vec<Diagnostic> {
    let worker = &topology.workers[worker_index];
    let validator = match jsonschema::validator_for(schema) {
        Ok(validator) => validator,
        Err(error) => {
            let message = format!("the plugin `{}` exports an invalid JSON Schema: {error}", worker.plugin);
            return vec![Diagnostic::error(message).at(worker.spans.plugin.clone(), "this plugin")];
        }
    };
    let mut found: Vec<Diagnostic> = Vec::new();
    for error in validator.iter_errors(&worker.config).take(MAX_ERRORS) {
        found.extend(of_error(worker, schema, &error));
    }
    found.extend(ignored_keys(worker, schema));
    found
}

fn of_error(worker: &WorkerConfig, schema: &Value, error: &ValidationError<'_>) -> Vec<Diagnostic> {
    let at = error.instance_path().as_str();
    let name = name_of(at);
    match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let known = known_keys(schema, error.schema_path().as_str());
            unexpected.iter().map(|key| unknown_key(worker, at, key, &known)).collect()
        }
        Kind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            let message = format!("`{key}` is missing in {name}");
            vec![Diagnostic::error(message).at(place(worker, at), format!("has no `{key}`"))]
        }
        Kind::Type { kind } => {
            let expected = types(kind);
            let found = type_of(error.instance());
            let message = format!("{name}: expected {expected}, found {found}");
            vec![Diagnostic::error(message).at(place(worker, at), format!("expected {expected}"))]
        }
        Kind::Enum { options } => {
            let options: Vec<String> = options.as_array().into_iter().flatten().map(plain).collect();
            vec![none_of(worker, at, error.instance(), &options)]
        }
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => of_alternatives(worker, schema, error, context),
        Kind::Minimum { limit } => vec![limited(worker, at, &format!("at least {limit}"))],
        Kind::Maximum { limit } => vec![limited(worker, at, &format!("at most {limit}"))],
        Kind::ExclusiveMinimum { limit } => vec![limited(worker, at, &format!("more than {limit}"))],
        Kind::ExclusiveMaximum { limit } => vec![limited(worker, at, &format!("less than {limit}"))],
        Kind::MinLength { limit: 1 } => {
            vec![Diagnostic::error(format!("{name} must not be empty")).at(place(worker, at), "is empty")]
        }
        Kind::MinLength { limit } => vec![limited(worker, at, &format!("at least {limit} characters long"))],
        Kind::MaxLength { limit } => vec![limited(worker, at, &format!("at most {limit} characters long"))],
        Kind::Pattern { pattern } => vec![limited(worker, at, &format!("matched by the pattern {pattern}"))],
        _ => {
            let message = format!("{name}: {}", error.masked_with("the value"));
            vec![Diagnostic::error(message).at(place(worker, at), "")]
        }
    }
}

/// What is wrong by every one of several alternatives: the words that would do, or why the only real alternative will not.
/// `null`, as in an optional setting, is none: TOML cannot say it.
fn of_alternatives(
    worker: &WorkerConfig,
    schema: &Value,
    error: &ValidationError<'_>,
    alternatives: &[Vec<ValidationError<'static>>],
) -> Vec<Diagnostic> {
    let real = alternatives.iter().filter(|errors| !errors.iter().any(expects_null)).collect::<Vec<_>>();
    let words: Option<Vec<String>> = real
        .iter()
        .map(|errors| match errors.as_slice() {
            [only] => words_of(only),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()
        .map(|words| words.concat());
    let at = error.instance_path().as_str();
    match (words, real.as_slice()) {
        (Some(words), [_, ..]) => vec![none_of(worker, at, error.instance(), &words)],
        (None, [only]) => only.iter().flat_map(|error| of_error(worker, schema, error)).collect(),
        _ => {
            let message = format!("{} fits none of the {} forms that it may have", name_of(at), real.len());
            vec![Diagnostic::error(message).at(place(worker, at), "")]
        }
    }
}

fn expects_null(error: &ValidationError<'_>) -> bool {
    matches!(error.kind(), Kind::Type { kind: TypeKind::Single(JsonType::Null) })
}

fn words_of(error: &ValidationError<'_>) -> Option<Vec<String>> {
    match error.kind() {
        Kind::Constant { expected_value } => Some(vec![plain(expected_value)]),
        Kind::Enum { options } => Some(options.as_array()?.iter().map(plain).collect()),
        _ => None,
    }
}

fn none_of(worker: &WorkerConfig, at: &str, found: &Value, words: &[String]) -> Diagnostic {
    let words = || words.iter().map(String::as_str);
    let expected = suggest::any_of(words());
    let error = Diagnostic::error(format!("{}: expected {expected}", name_of(at)))
        .at(place(worker, at), format!("expected {expected}"));
    match suggest::nearest(found.as_str().unwrap_or_default(), words()) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error,
    }
}

fn limited(worker: &WorkerConfig, at: &str, what: &str) -> Diagnostic {
    Diagnostic::error(format!("{} must be {what}", name_of(at))).at(place(worker, at), format!("must be {what}"))
}

/// serde drops keys that it does not know, so a typo would be a default in silence. Where the schema does not say whether
/// it takes more than it names, it does not.
fn ignored_keys(worker: &WorkerConfig, schema: &Value) -> Vec<Diagnostic> {
    const OPEN: [&str; 8] = [
        "additionalProperties",
        "unevaluatedProperties",
        "patternProperties",
        "propertyNames",
        "allOf",
        "anyOf",
        "oneOf",
        "$ref",
    ];
    let Some(config) = worker.config.as_object() else { return Vec::new() };
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Vec::new() };
    if OPEN.iter().any(|keyword| schema.get(keyword).is_some()) {
        return Vec::new();
    }
    let known: Vec<String> = properties.keys().cloned().collect();
    let unknown = config.keys().filter(|key| !known.contains(key));
    unknown.map(|key| unknown_key(worker, "", key, &known)).collect()
}

fn unknown_key(worker: &WorkerConfig, at: &str, key: &str, known: &[String]) -> Diagnostic {
    let pointer = join(at, key);
    let span = worker.spans.config.key(&pointer).unwrap_or_else(|| place(worker, &pointer));
    let unknown = Diagnostic::error(format!("unknown key `{key}` in {}", name_of(at)));
    let known = || known.iter().map(String::as_str);
    match suggest::nearest(key, known()) {
        Some(near) => unknown.at(span, format!("did you mean `{near}`?")),
        None if known().next().is_none() => unknown.at(span, "unknown key"),
        None => unknown.at(span, "unknown key").help(format!("the keys here are {}", suggest::all_of(known()))),
    }
}

/// The keys that the object has whose schema holds the failed keyword.
fn known_keys(schema: &Value, keyword: &str) -> Vec<String> {
    let object = keyword.rsplit_once('/').map_or("", |(object, _)| object);
    let properties = schema.pointer(object).and_then(|object| object.get("properties"));
    properties.and_then(Value::as_object).map(|keys| keys.keys().cloned().collect()).unwrap_or_default()
}

/// Where the value at a pointer stands, or what is around it where it stands nowhere.
fn place(worker: &WorkerConfig, pointer: &str) -> Span {
    let mut pointer = pointer;
    loop {
        match (worker.spans.config.value(pointer), pointer.rsplit_once('/')) {
            (Some(span), _) => return span,
            (None, Some((parent, _))) => pointer = parent,
            (None, None) => return worker.spans.header.clone(),
        }
    }
}

fn name_of(pointer: &str) -> String {
    match pointer.strip_prefix('/') {
        Some(path) => {
            let mut name = String::new();
            for step in path.split('/') {
                let step = step.replace("~1", "/").replace("~0", "~");
                match step.parse::<usize>() {
                    Ok(index) => name.push_str(&format!("[{index}]")),
                    Err(_) if name.is_empty() => name.push_str(&step),
                    Err(_) => name.push_str(&format!(".{step}")),
                }
            }
            format!("`{name}`")
        }
        None => "[worker.config]".to_owned(),
    }
}

fn types(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(one) => type_name(*one).to_owned(),
        // `null`, which TOML cannot say, stands for a key that may be left out.
        TypeKind::Multiple(many) => {
            let names: Vec<_> = many.iter().filter(|one| *one != JsonType::Null).map(type_name).collect();
            names.join(" or ")
        }
    }
}

fn type_name(json: JsonType) -> &'static str {
    match json {
        JsonType::Null => "nothing",
        JsonType::Boolean => "`true` or `false`",
        JsonType::Integer => "a whole number",
        JsonType::Number => "a number",
        JsonType::String => "a string",
        JsonType::Array => "an array",
        JsonType::Object => "a table",
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a float",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "a table",
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
