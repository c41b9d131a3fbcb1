//! From a file to a [`Topology`], or to everything that is wrong with it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

use super::config::{BusConfig, HostConfig, LogConfig, ManagerConfig, Topology, WorkerConfig};
use super::diagnostics::{Diagnostic, Diagnostics};
use super::interpolate::Env;
use super::source::Source;
use super::walk::{Context, Fields, Span};
use super::{legacy, sections, syntax, validate, workers};

/// A topology is written by hand; what is larger is another file.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a topology and the files that it names. `env` is the environment: `std::env::var(name).ok()` for a host.
///
/// # Errors
/// Everything that is wrong with the files, those that cannot be read included.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Topology, Diagnostics> {
    match read(path) {
        Ok(source) => of_source(path, source, env),
        Err((source, error)) => Err(Diagnostics::one(Arc::new(source), error)),
    }
}

/// Reads a topology from its text, as if it stood in the file `path`; the files that it names are read.
///
/// # Errors
/// As [`load`].
pub fn parse(path: &Path, text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Topology, Diagnostics> {
    of_source(path, Source::new(path.display().to_string(), text), env)
}

/// Reads a file, or says why not.
pub(super) fn read(path: &Path) -> Result<Source, (Source, Diagnostic)> {
    let name = path.display().to_string();
    let fail = |error: Diagnostic| (Source::new(name.clone(), ""), error);
    let mut bytes = Vec::new();
    let outcome = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    match outcome {
        Err(error) => Err(fail(unreadable(&name, &error))),
        Ok(_) if bytes.len() as u64 > MAX_BYTES => {
            Err(fail(Diagnostic::error(format!("{name} is larger than {}", super::units::format_size(MAX_BYTES)))))
        }
        Ok(_) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Source::new(name, &text)),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                let label = Diagnostic::error("the file is not UTF-8 text")
                    .at(at..at + '\u{fffd}'.len_utf8(), "this is not UTF-8");
                Err((Source::new(name, &text), label))
            }
        },
    }
}

fn unreadable(name: &str, error: &io::Error) -> Diagnostic {
    let diagnostic = Diagnostic::error(format!("cannot read {name}: {error}"));
    match error.kind() {
        io::ErrorKind::NotFound => diagnostic.help("name the topology's file with `--topology FILE`"),
        _ => diagnostic,
    }
}

fn of_source(path: &Path, source: Source, env: Env<'_>) -> Result<Topology, Diagnostics> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let (document, syntax_errors) = DeTable::parse_recoverable(source.text());
    let syntax_errors = syntax::diagnostics(&source, document.get_ref(), &syntax_errors);
    let context = Context::new(&source, env);
    let mut others = Others { files: vec![path.to_owned()], found: Vec::new() };
    let parts = walk(&context, folder, document.get_ref(), &mut others);
    let (found, secrets) = context.into_found();
    let found = without_echoes(&source, syntax_errors, found);
    drop(document);
    let source = hidden(source, secrets);
    let own = found.into_iter().map(|item| (Arc::clone(&source), item));
    match Diagnostics::of_files(own.chain(others.found).collect()) {
        Some(all) if all.has_errors() => Err(all),
        warnings => {
            let Parts { host, bus, manager, logs, workers } = parts;
            Ok(Topology { host, bus, manager, logs, workers, warnings, files: others.files, source })
        }
    }
}

/// A source that keeps these bytes to itself.
pub(super) fn hidden(mut source: Source, secrets: Vec<Span>) -> Arc<Source> {
    for span in secrets {
        source.hide(span);
    }
    Arc::new(source)
}

/// What the parser recovered after a syntax error is a guess: on that error's line, and about what is missing, its
/// word is not taken.
fn without_echoes(source: &Source, syntax_errors: Vec<Diagnostic>, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let line = |item: &Diagnostic| item.primary.as_ref().map(|label| source.position(label.span.start).line);
    let broken: Vec<_> = syntax_errors.iter().map(line).collect();
    let is_echo = |item: &Diagnostic| !broken.is_empty() && (item.absence || broken.contains(&line(item)));
    let mut all = syntax_errors.clone();
    all.extend(found.into_iter().filter(|item| !is_echo(item)));
    all
}

/// What the topology's files besides itself are, and what is wrong in them.
pub(super) struct Others {
    pub files: Vec<PathBuf>,
    pub found: Vec<(Arc<Source>, Diagnostic)>,
}

struct Parts {
    host: HostConfig,
    bus: BusConfig,
    manager: ManagerConfig,
    logs: LogConfig,
    workers: Vec<WorkerConfig>,
}

/// Reads all that can be read; what cannot is reported and has its default.
fn walk(cx: &Context<'_>, folder: &Path, document: &DeTable<'_>, others: &mut Others) -> Parts {
    let mut root = Fields::of_table(cx, "the topology", 0..0, document);
    let legacy = root.node("config").map(|node| legacy::load(&node, folder, others)).unwrap_or_default();
    let host = sections::host(root.take("host", |node| Fields::of(node, "[host]")), folder);
    let bus = root.take("bus", |node| Fields::of(node, "[bus]"));
    let mut bus = sections::bus(bus, folder, &legacy, &mut others.files);
    // The environment wins over every file, as in the original's compose file.
    if let Some(url) = legacy::url_of_environment(cx) {
        bus.url = url;
    }
    let manager = sections::manager(root.take("manager", |node| Fields::of(node, "[manager]")), &legacy);
    let logs = sections::log(root.take("log", |node| Fields::of(node, "[log]")), &legacy);
    let defaults = workers::defaults(root.take("defaults", |node| Fields::of(node, "[defaults]")));
    let workers = root.take("worker", |node| workers::workers(node, defaults)).unwrap_or_default();
    let admin_span = host_admin_span(document);
    validate::check(cx, &host, admin_span, &workers, document.contains_key("worker"));
    root.finish(sections::place_of);
    Parts { host, bus, manager, logs, workers }
}

fn host_admin_span(document: &DeTable<'_>) -> Option<Span> {
    document.get("host")?.get_ref().get("admin").map(toml::Spanned::span)
}
