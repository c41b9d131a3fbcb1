//! `[worker.config]` against the JSON Schema that its plugin exports.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{JsonType, ValidationError};
use serde_json::Value;

use super::config::{Topology, WorkerConfig};
use super::diagnostics::Diagnostic;
use super::json::join;
use super::suggest;
use super::walk::Span;

/// More errors of one config are echoes.
const MAX_ERRORS: usize = 20;

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
            let message = format!("the plugin `{}` exports a schema that is none: {error}", worker.plugin);
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
            let expected = suggest::any_of(options.iter().map(String::as_str));
            let error_there = Diagnostic::error(format!("{name}: expected {expected}"))
                .at(place(worker, at), format!("expected {expected}"));
            let found = error.instance().as_str().unwrap_or_default();
            vec![match suggest::nearest(found, options.iter().map(String::as_str)) {
                Some(near) => error_there.help(format!("did you mean `{near}`?")),
                None => error_there,
            }]
        }
        Kind::Minimum { limit } => vec![limited(worker, at, &format!("at least {limit}"))],
        Kind::Maximum { limit } => vec![limited(worker, at, &format!("at most {limit}"))],
        Kind::ExclusiveMinimum { limit } => vec![limited(worker, at, &format!("more than {limit}"))],
        Kind::ExclusiveMaximum { limit } => vec![limited(worker, at, &format!("less than {limit}"))],
        Kind::MinLength { limit } => vec![limited(worker, at, &format!("at least {limit} characters long"))],
        Kind::MaxLength { limit } => vec![limited(worker, at, &format!("at most {limit} characters long"))],
        Kind::Pattern { pattern } => vec![limited(worker, at, &format!("matched by the pattern {pattern}"))],
        _ => {
            let message = format!("{name}: {}", error.masked_with("the value"));
            vec![Diagnostic::error(message).at(place(worker, at), "")]
        }
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
        None => unknown.at(span, "unknown key").help(format!("the keys here are {}", suggest::any_of(known()))),
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
        Some(path) => format!("`{}`", path.replace('/', ".").replace("~1", "/").replace("~0", "~")),
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
