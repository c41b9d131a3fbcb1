//! From a file to a [`Topology`], or to everything that is wrong with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mshost_core::telemetry::LogSettings;
use toml::de::DeTable;

use super::config::{BusConfig, HostConfig, ManagerConfig, Topology, WorkerConfig};
use super::diagnostics::{Diagnostic, Diagnostics, Doubt};
use super::interpolate::Env;
use super::source::Source;
use super::walk::{Context, Fields, Span};
use super::{files, legacy, sections, syntax, validate, workers};

/// Reads a topology and the files that it names. `env` is the environment: `std::env::var(name).ok()` for a host.
///
/// # Errors
/// Everything that is wrong with the files, those that cannot be read included.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Topology, Diagnostics> {
    of_source(path, files::read(path)?, env)
}

/// Reads a topology from its text, as if it stood in the file `path`; the files that it names are read.
///
/// # Errors
/// As [`load`].
pub fn parse(path: &Path, text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Topology, Diagnostics> {
    of_source(path, Source::new(path.display().to_string(), text), env)
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
    let is_in_vain = found.iter().chain(others.found.iter().map(|(_, item)| item)).any(Diagnostic::is_error);
    // That there are no workers is no news in a file that cannot be used.
    let found = found.into_iter().filter(|item| !is_in_vain || item.is_error());
    let own = found.map(|item| (Arc::clone(&source), item));
    match Diagnostics::of_files(own.chain(others.found).collect()) {
        Some(all) if all.has_errors() => Err(all),
        warnings => {
            let Parts { host, bus, bus_span, manager, logs, workers } = parts;
            Ok(Topology { host, bus, bus_span, manager, logs, workers, warnings, files: others.files, source })
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

/// What the parser recovered after a syntax error is a guess: its word is not taken on that error's line, nor about what
/// is missing, nor about keys in the wrong table once a header may have been lost.
pub(super) fn without_echoes(source: &Source, syntax: Vec<Diagnostic>, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let line = |item: &Diagnostic| item.primary.as_ref().map_or(0, |label| source.position(label.span.start).line);
    let broken: Vec<usize> = syntax.iter().map(line).collect();
    let lines: Vec<&str> = source.text().lines().collect();
    let is_header = |line: usize| !lines.get(line.saturating_sub(1)).is_some_and(|text| text.contains('='));
    let lost_header = broken.iter().copied().find(|line| is_header(*line));
    let is_echo = |item: &Diagnostic| match item.doubt {
        _ if broken.contains(&line(item)) => true,
        Some(Doubt::Missing) => !broken.is_empty(),
        Some(Doubt::Misplaced) => lost_header.is_some_and(|lost| lost < line(item)),
        None => false,
    };
    let kept: Vec<_> = found.into_iter().filter(|item| !is_echo(item)).collect();
    syntax.into_iter().chain(kept).collect()
}

/// What the topology's files besides itself are, and what is wrong in them.
pub(super) struct Others {
    pub files: Vec<PathBuf>,
    pub found: Vec<(Arc<Source>, Diagnostic)>,
}

struct Parts {
    host: HostConfig,
    bus: BusConfig,
    bus_span: Span,
    manager: ManagerConfig,
    logs: LogSettings,
    workers: Vec<WorkerConfig>,
}

/// Reads all that can be read; what cannot is reported and has its default.
fn walk(cx: &Context<'_>, folder: &Path, document: &DeTable<'_>, others: &mut Others) -> Parts {
    let mut root = Fields::of_table(cx, "the topology", 0..0, document);
    let legacy = root.node("config").map(|node| legacy::load(&node, folder, others)).unwrap_or_default();
    let host = sections::host(root.take("host", |node| Fields::of(node, "[host]")), folder);
    let bus = root.take("bus", |node| Fields::of(node, "[bus]"));
    let bus = sections::bus(bus, folder, &legacy, legacy::url_of_environment(cx), &mut others.files);
    let manager = sections::manager(root.take("manager", |node| Fields::of(node, "[manager]")), &legacy);
    let logs = sections::log(root.take("log", |node| Fields::of(node, "[log]")), &legacy);
    let defaults = workers::defaults(root.take("defaults", |node| Fields::of(node, "[defaults]")));
    let workers = root.take("worker", |node| workers::workers(node, defaults)).unwrap_or_default();
    let checked = validate::Checked { host: &host, bus: &bus, manager: &manager, workers: &workers, document };
    validate::check(cx, &checked);
    let bus_span = checked.span("bus", "url").unwrap_or_default();
    root.finish(sections::place_of);
    Parts { host, bus, bus_span, manager, logs, workers }
}
