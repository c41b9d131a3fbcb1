//! From a file to a [`Topology`], or to everything that is wrong with it.

use std::path::Path;
use std::sync::Arc;

use mshost_core::telemetry::LogSettings;
use toml::de::DeTable;

use super::config::{BusConfig, HostConfig, ManagerConfig, Topology, WorkerConfig};
use super::diagnostics::{Diagnostic, Diagnostics};
use super::interpolation::Environment;
use super::keys::file;
use super::read_context::{Findings, ReadContext, Span};
use super::sections::{bus, host, log, manager, msjs, worker};
use super::source::SourceText;
use super::table_reader::TableReader;
use super::{files, syntax, validate};

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
    of_source(path, SourceText::new(path.display().to_string(), text), env)
}

fn of_source(path: &Path, source: SourceText, env: Environment<'_>) -> Result<Topology, Diagnostics> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let (document, syntax_errors) = DeTable::parse_recoverable(source.text());
    let syntax_errors = syntax::diagnostics(&source, document.get_ref(), &syntax_errors);
    let context = ReadContext::new(&source, folder, env);
    context.note_file(path.to_owned());
    let parts = read_tables(&context, document.get_ref());
    let Findings { diagnostics, secrets, files, in_other_files } = context.into_findings();
    let found = syntax::without_echoes(&source, syntax_errors, diagnostics);
    drop(document);
    let source = source.without_secrets(secrets);
    let is_in_vain = found.iter().chain(in_other_files.iter().map(|(_, item)| item)).any(Diagnostic::is_error);
    // That there are no workers is no news in a file that cannot be used.
    let found = found.into_iter().filter(|item| !is_in_vain || item.is_error());
    let own = found.map(|item| (Arc::clone(&source), item));
    match Diagnostics::of_files(own.chain(in_other_files).collect()) {
        Some(all) if all.has_errors() => Err(all),
        warnings => {
            let TopologyParts { host, bus, bus_span, manager, logs, workers } = parts;
            Ok(Topology { host, bus, bus_span, manager, logs, workers, warnings, files, source })
        }
    }
}

/// What the tables say.
struct TopologyParts {
    host: HostConfig,
    bus: BusConfig,
    bus_span: Span,
    manager: ManagerConfig,
    logs: LogSettings,
    workers: Vec<WorkerConfig>,
}

/// Reads all that can be read; what cannot is reported and has its default.
fn read_tables(cx: &ReadContext<'_>, document: &DeTable<'_>) -> TopologyParts {
    let mut root = TableReader::of_table(cx, &file::SECTION, 0..0, document);
    let msjs = msjs::read(&mut root);
    let host = host::read(root.table_or_empty(&file::HOST));
    let bus = bus::read(root.table_or_empty(&file::BUS), &msjs, msjs::url_of_environment(cx));
    let manager = manager::read(root.table_or_empty(&file::MANAGER), &msjs);
    let logs = log::read(root.table_or_empty(&file::LOG), &msjs);
    let defaults = worker::read_defaults(root.table_or_empty(&file::DEFAULTS));
    let workers = worker::read_all(&mut root, defaults);
    let checked = validate::Checked { host: &host, bus: &bus, manager: &manager, workers: &workers, document };
    validate::check(cx, &checked);
    let bus_span = checked.span("bus", "url").unwrap_or_default();
    root.finish();
    TopologyParts { host, bus, bus_span, manager, logs, workers }
}
