//! What is wrong with a file, where, and what to do about it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::render::{self, Style};
use super::source::{Position, Source};

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
    /// It may be nothing but the echo of a syntax error: something is not there.
    pub(super) absence: bool,
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
            absence: false,
        }
    }

    /// A warning that has no place yet.
    #[must_use]
    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
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

    pub(super) fn absence(mut self) -> Self {
        self.absence = true;
        self
    }
}

/// One or more [`Diagnostic`]s, each with the file it is about; ordered as they stand in the files.
#[derive(Clone)]
pub struct Diagnostics {
    items: Vec<(Arc<Source>, Diagnostic)>,
}

impl Diagnostics {
    /// What is wrong with one file, or `None` where nothing is.
    #[must_use]
    pub fn new(source: &Arc<Source>, items: Vec<Diagnostic>) -> Option<Self> {
        Self::of_files(items.into_iter().map(|item| (Arc::clone(source), item)).collect())
    }

    /// One thing that is wrong.
    #[must_use]
    pub fn one(source: Arc<Source>, item: Diagnostic) -> Self {
        Self { items: vec![(source, item)] }
    }

    /// What is wrong with several files, or `None` where nothing is.
    pub(super) fn of_files(mut items: Vec<(Arc<Source>, Diagnostic)>) -> Option<Self> {
        // A stable sort by place alone: files stay in the order in which they were read.
        let mut files: Vec<*const Source> = Vec::new();
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
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Source, &Diagnostic)> {
        self.items.iter().map(|(source, item)| (&**source, item))
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

    /// Everything, for a person to read: rustc's look, ends with a newline.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        render::render(self, style)
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
            format!("{place}{}: {}", item.severity, item.message)
        })
    }
}

/// The plain rendering, without its last newline.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(Style::Plain).trim_end())
    }
}

impl fmt::Debug for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lines()).finish()
    }
}

impl std::error::Error for Diagnostics {}
