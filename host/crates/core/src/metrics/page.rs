//! `docs/metrics.md`: a table of all metrics, made from their declarations.

use std::fmt::{self, Write as _};

use super::declaration::DocumentedMetric;
use super::host_metrics::DECLARED;

/// What is explained before the tables.
const INTRODUCTION: &str = include_str!("introduction.md");

/// The groups of the page: a title, and what the names of its metrics begin with.
const GROUPS: [(&str, &str); 2] =
    [("The metrics of MicroServices.js", "microservices_"), ("The metrics of mshost", "mshost_")];

/// The reference of the metrics, as Markdown.
#[must_use]
pub fn metrics_page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for (title, prefix) in GROUPS {
        // Writing to a string does not fail.
        let _ =
            write_group(&mut page, title, DECLARED.iter().filter(|metric| metric.declaration.name.starts_with(prefix)));
    }
    page
}

fn write_group<'m>(page: &mut String, title: &str, metrics: impl Iterator<Item = &'m DocumentedMetric>) -> fmt::Result {
    writeln!(page, "\n## {title}\n\n| metric | kind | labels | unit | what it tells |\n|---|---|---|---|---|")?;
    for DocumentedMetric { declaration, kind, doc } in metrics {
        let labels: Vec<String> = declaration.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, unit, labels) = (declaration.name, declaration.unit, labels.join(", "));
        let doc = doc.concat();
        writeln!(page, "| <a id=\"{name}\"></a>`{name}` | {kind} | {labels} | {unit} | {} |", doc.trim())?;
    }
    Ok(())
}
