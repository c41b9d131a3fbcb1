//! Diagnostics as a person reads them, in the look of rustc.

use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::diagnostics::{Diagnostic, Diagnostics, Severity};
use super::source::SourceText;

/// More than these are counted, not shown: a person does not read on, and a broken file must not flood a log.
const MAX_SHOWN: usize = 50;

/// Whether to use colours. That is the caller's to know: is it a terminal, is `NO_COLOR` set?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenderStyle {
    /// Text alone.
    Plain,
    /// With ANSI escape codes.
    Coloured,
}

impl Diagnostics {
    /// Everything, for a person to read: rustc's look, ends with a newline.
    #[must_use]
    pub fn render(&self, style: RenderStyle) -> String {
        let renderer = match style {
            RenderStyle::Plain => Renderer::plain(),
            RenderStyle::Coloured => Renderer::styled(),
        };
        let mut out = String::new();
        for (source, item) in self.iter().take(MAX_SHOWN) {
            out.push_str(&one(&renderer, source, item));
            out.push_str("\n\n");
        }
        out.push_str(&summary(self));
        out.push('\n');
        out
    }
}

/// The plain rendering, without its last newline.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(RenderStyle::Plain).trim_end())
    }
}

impl std::error::Error for Diagnostics {}

fn one(renderer: &Renderer, source: &SourceText, item: &Diagnostic) -> String {
    let level = match item.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(item.message.as_str()));
    if let Some(primary) = &item.primary {
        let related = item.related.iter().map(|label| (AnnotationKind::Context, label));
        let labels: Vec<_> = std::iter::once((AnnotationKind::Primary, primary)).chain(related).collect();
        // The renderer looks at every line that it gets: so it gets no more than these labels need.
        let (lines, start, number) = source.shown_lines(labels.iter().map(|(_, label)| &label.span));
        let annotations = labels.into_iter().map(|(kind, label)| {
            let text = (!label.text.is_empty()).then_some(label.text.as_str());
            let span = source.clamp(label.span.clone());
            kind.span(span.start - start..span.end - start).label(text)
        });
        group = group.element(Snippet::source(lines).line_start(number).path(source.name()).annotations(annotations));
    }
    for help in &item.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    renderer.render(&[group])
}

fn summary(diagnostics: &Diagnostics) -> String {
    let count = |severity, word: &str| match diagnostics.count(severity) {
        0 => None,
        1 => Some(format!("1 {word}")),
        n => Some(format!("{n} {word}s")),
    };
    let counts: Vec<_> =
        [count(Severity::Error, "error"), count(Severity::Warning, "warning")].into_iter().flatten().collect();
    let hidden = diagnostics.iter().len().saturating_sub(MAX_SHOWN);
    let hidden = if hidden > 0 { format!(" ({hidden} not shown)") } else { String::new() };
    format!("{}{hidden}", counts.join(", "))
}
