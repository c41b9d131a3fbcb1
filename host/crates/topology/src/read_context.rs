//! The reading of one file: its text, where its values come from, and every diagnostic that readers report.
//!
//! A reader returns a value, or reports why there is none and returns `None`; reading then goes on, so that all errors of
//! a file are found at once.

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnostics::Diagnostic;
use super::interpolation::Environment;
use super::source::SourceText;

pub(crate) type Span = Range<usize>;

/// More errors of one kind of a file are not kept: it is no topology at all.
pub(crate) const MAX_FOUND: usize = 200;

/// What the reading of one file shares: its text, the environment, and the diagnostics found so far.
pub(crate) struct ReadContext<'a> {
    pub source: &'a SourceText,
    /// The folder that relative paths start from.
    pub folder: &'a Path,
    pub env: Environment<'a>,
    findings: RefCell<Findings>,
}

/// What the reading of one file brought to light besides its values.
#[derive(Default)]
pub(crate) struct Findings {
    /// What is wrong with the file.
    pub diagnostics: Vec<Diagnostic>,
    /// The parts of its text that must not be shown.
    pub secrets: Vec<Span>,
    /// The files that it names, each of which was read or was to be.
    pub files: Vec<PathBuf>,
    /// What is wrong with the files that it names.
    pub in_other_files: Vec<(Arc<SourceText>, Diagnostic)>,
}

impl<'a> ReadContext<'a> {
    pub fn new(source: &'a SourceText, folder: &'a Path, env: Environment<'a>) -> Self {
        Self { source, folder, env, findings: RefCell::default() }
    }

    pub fn report(&self, diagnostic: Diagnostic) {
        let found = &mut self.findings.borrow_mut().diagnostics;
        // Some values are read twice; what is wrong with them is said once.
        if found.len() < MAX_FOUND && !found.contains(&diagnostic) {
            found.push(diagnostic);
        }
    }

    /// Reports what is wrong with a file that this one names.
    pub fn report_in(&self, other: &Arc<SourceText>, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        let found = diagnostics.into_iter().map(|item| (Arc::clone(other), item));
        self.findings.borrow_mut().in_other_files.extend(found);
    }

    /// Keeps the text of a value out of everything that is shown.
    pub fn hide(&self, span: Span) {
        self.findings.borrow_mut().secrets.push(span);
    }

    /// Notes a file that this one names: a change of it is a change of this one.
    pub fn note_file(&self, path: PathBuf) {
        self.findings.borrow_mut().files.push(path);
    }

    pub fn into_findings(self) -> Findings {
        self.findings.into_inner()
    }
}
