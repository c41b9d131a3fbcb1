//! `docs/configuration.md`: a table for each section, made from the declarations of its keys.

use std::fmt::{self, Write as _};

use crate::declaration::{AppliedWhen, ConfigSection, DeclaredKey, KeyDefault};
use crate::keys::{bus, file, host, log, manager, msjs, worker};

/// What is explained before the tables.
const INTRODUCTION: &str = include_str!("introduction.md");

/// The order of the page; each is followed by the tables that stand in it.
const ORDER: [&ConfigSection; 7] = [
    &host::SECTION,
    &bus::SECTION,
    &manager::SECTION,
    &log::SECTION,
    &worker::DEFAULTS,
    &worker::SECTION,
    &msjs::SECTION,
];

/// The reference of the configuration, as Markdown.
#[must_use]
pub fn configuration_page() -> String {
    let mut page = Page { text: INTRODUCTION.to_owned(), shown: Vec::new() };
    // Writing to a string does not fail.
    let _ = page.section(&file::SECTION);
    for section in ORDER {
        let _ = page.section(section);
        for nested in section.nested() {
            let _ = page.section(nested);
        }
    }
    page.text
}

struct Page {
    text: String,
    shown: Vec<&'static str>,
}

impl Page {
    fn section(&mut self, section: &'static ConfigSection) -> fmt::Result {
        let title = title(section);
        if self.shown.contains(&title) {
            return Ok(());
        }
        self.shown.push(title);
        writeln!(self.text, "\n## {title}\n\n{}\n", section.doc)?;
        self.text.push_str("| key | type | default | takes effect | what it sets |\n|---|---|---|---|---|\n");
        let is_shared = |key: &dyn DeclaredKey| {
            !std::ptr::eq(section, &worker::DEFAULTS)
                && worker::DEFAULTS.keys().any(|other| std::ptr::addr_eq(key, other))
        };
        for key in section.keys().filter(|key| !is_shared(*key)) {
            self.key(section, key)?;
        }
        if section.keys().any(is_shared) {
            writeln!(self.text, "\nBesides these, every key of [`[defaults]`](#defaults), for this worker alone.")?;
        }
        if !section.example.is_empty() {
            write!(self.text, "\n```toml\n{}```\n", section.example)?;
        }
        Ok(())
    }

    fn key(&mut self, section: &ConfigSection, key: &dyn DeclaredKey) -> fmt::Result {
        let (name, doc) = (key.name(), key.doc());
        let kind = match key.kind().table() {
            Some(table) => format!("{}: [{}](#{})", key.kind().wording(), title(table), anchor(table)),
            None => key.kind().wording(),
        };
        let default = match key.default() {
            KeyDefault::Literal(literal) => format!("`{literal}`"),
            KeyDefault::Words(words) => words.to_owned(),
            KeyDefault::Required => "required".to_owned(),
        };
        let applied = match key.applied() {
            AppliedWhen::AtOnce => "at once",
            AppliedWhen::ByReplacement => "by replacing the worker",
            AppliedWhen::ByBusMigration => "by moving to the new bus",
            AppliedWhen::AtRestart => "**at a restart**",
            AppliedWhen::PerKey => "as each of its keys says",
        };
        writeln!(
            self.text,
            "| <a id=\"{}.{name}\"></a>`{name}` | {kind} | {default} | {applied} | {doc} |",
            anchor(section)
        )
    }
}

/// The heading of a section.
fn title(section: &ConfigSection) -> &'static str {
    match section.heading {
        "the topology" => "The file",
        "the configuration" => "The MicroServices.js configuration",
        heading => heading,
    }
}

/// What a renderer of Markdown makes of the heading.
fn anchor(section: &ConfigSection) -> String {
    let kept = title(section).chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}
