//! The one place that prints: what commands say to the person who typed them.

use std::fmt;
use std::io::{ErrorKind, IsTerminal, Write};

use mshost_topology::{Diagnostics, RenderStyle};

/// Why a command failed, as the person who typed it reads it.
#[derive(Debug)]
pub(super) struct CommandError(String);

impl CommandError {
    pub(super) fn new(message: impl fmt::Display) -> Self {
        Self(message.to_string())
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A result, on standard output. A reader that has gone, as in `mshost inspect … | head -1`, is no error.
pub(super) fn out(text: &str) -> Result<(), CommandError> {
    bytes(format!("{text}\n").as_bytes())
}

/// A result that need not be text, byte by byte.
pub(super) fn bytes(bytes: &[u8]) -> Result<(), CommandError> {
    let mut stdout = std::io::stdout();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CommandError::new(format!("the result cannot be written to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// A question, with the answer on the same line.
pub(super) fn ask(question: &str) {
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{question}").and_then(|()| stderr.flush());
}

/// Anything else, on standard error.
pub(super) fn err(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Diagnostics, in colours where a person looks at them.
pub(super) fn show(diagnostics: &Diagnostics) -> String {
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    diagnostics.render(if coloured { RenderStyle::Coloured } else { RenderStyle::Plain }).trim_end().to_owned()
}
