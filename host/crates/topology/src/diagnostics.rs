//! What is wrong with a file, where, and what to do about it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::source::{Position, SourceText};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but hardly means what it says.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// A marked piece of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The bytes it marks.
    pub span: Range<usize>,
    /// What is said there; may be empty.
    pub text: String,
}

/// Why a diagnostic is not to be trusted where the file has other errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// Something is missing: it may stand where the parser could not read it.
    Missing,
    /// A key is in the wrong table: the header of the right one may be what the parser could not read.
    Misplaced,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// Where it is wrong. Nowhere for what has no place in a file, such as an environment variable.
    pub primary: Option<Label>,
    /// Other places that one must see to understand it.
    pub related: Vec<Label>,
    /// What to do about it.
    pub help: Vec<String>,
    /// Why it may be nothing but the echo of another error.
    pub(crate) doubt: Option<Doubt>,
}

impl Diagnostic {
    /// An error that has no place yet.
    #[must_use]
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            primary: None,
            related: Vec::new(),
            help: Vec::new(),
            doubt: None,
        }
    }

    /// A warning that has no place yet.
    #[must_use]
    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
    }

    /// Whether the file cannot be used for it.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Says where.
    #[must_use]
    pub fn at(mut self, span: Range<usize>, text: impl Into<String>) -> Self {
        self.primary = Some(Label { span, text: text.into() });
        self
    }

    /// Marks another place.
    #[must_use]
    pub fn also(mut self, span: Range<usize>, text: impl Into<String>) -> Self {
        self.related.push(Label { span, text: text.into() });
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    pub(crate) fn doubted(mut self, doubt: Doubt) -> Self {
        self.doubt = Some(doubt);
        self
    }
}

/// One or more [`Diagnostic`]s, each with the file it is about; ordered as they stand in the files.
#[derive(Clone)]
pub struct Diagnostics {
    items: Vec<(Arc<SourceText>, Diagnostic)>,
}

impl Diagnostics {
    /// What is wrong with one file, or `None` where nothing is.
    #[must_use]
    pub fn new(source: &Arc<SourceText>, items: Vec<Diagnostic>) -> Option<Self> {
        Self::of_files(items.into_iter().map(|item| (Arc::clone(source), item)).collect())
    }

    /// One thing that is wrong.
    #[must_use]
    pub fn one(source: Arc<SourceText>, item: Diagnostic) -> Self {
        Self { items: vec![(source, item)] }
    }

    /// What is wrong with several files, or `None` where nothing is.
    pub(crate) fn of_files(mut items: Vec<(Arc<SourceText>, Diagnostic)>) -> Option<Self> {
        // A stable sort by place alone: files stay in the order in which they were read.
        let mut files: Vec<*const SourceText> = Vec::new();
        for (source, _) in &items {
            if !files.contains(&Arc::as_ptr(source)) {
                files.push(Arc::as_ptr(source));
            }
        }
        items.sort_by_key(|(source, item)| {
            let file = files.iter().position(|file| *file == Arc::as_ptr(source));
            (file, item.primary.as_ref().map(|label| label.span.start))
        });
        (!items.is_empty()).then_some(Self { items })
    }

    /// Each with its file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&SourceText, &Diagnostic)> {
        self.items.iter().map(|(source, item)| (&**source, item))
    }

    pub(crate) fn into_items(self) -> Vec<(Arc<SourceText>, Diagnostic)> {
        self.items
    }

    /// How many are of this severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.iter().filter(|(_, item)| item.severity == severity).count()
    }

    /// Whether the file cannot be used.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// Each in one line, for logs and the admin page: `topology.toml:3:5: error: …`.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.iter().map(|(source, item)| {
            let place = match &item.primary {
                Some(label) => {
                    let Position { line, column } = source.position(label.span.start);
                    format!("{}:{line}:{column}: ", source.name())
                }
                None => String::new(),
            };
            // A key of the file may have any character, and a line is one line.
            let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
            let help = if item.help.is_empty() { String::new() } else { format!(" ({})", item.help.join("; ")) };
            let message: String = item.message.chars().chain(help.chars()).map(escaped).collect();
            format!("{place}{}: {message}", item.severity)
        })
    }
}

impl fmt::Debug for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lines()).finish()
    }
}
