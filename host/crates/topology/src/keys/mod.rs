//! Every key of `topology.toml` and of the MicroServices.js configuration, each declared once.
//!
//! A key is read by its declaration, and only so. The same declarations say what is misspelled or in the wrong table, and
//! make `docs/configuration.md` and `docs/topology.schema.json`.
//!
//! Invariant: each declared key is read (`TableReader::finish` checks it in debug builds).

pub(crate) mod bus;
pub(crate) mod canary;
pub(crate) mod file;
pub(crate) mod host;
pub(crate) mod isolation;
pub(crate) mod log;
pub(crate) mod manager;
pub(crate) mod msjs;
pub(crate) mod restart;
pub(crate) mod retry;
pub(crate) mod worker;

use super::declaration::ConfigSection;

/// The tables that have a heading of their own.
pub(crate) const SECTIONS: [&ConfigSection; 6] =
    [&host::SECTION, &bus::SECTION, &manager::SECTION, &log::SECTION, &worker::SECTION, &worker::DEFAULTS];

/// The tables that have a key of this name, for messages: "[bus] and of [[worker]]".
pub(crate) fn tables_with(name: &str) -> Option<String> {
    let tables = SECTIONS.iter().filter(|section| section.keys().any(|key| key.name() == name));
    let headings: Vec<&str> = tables.map(|section| section.heading).collect();
    (!headings.is_empty()).then(|| headings.join(" and of "))
}
