//! Escapes texts of unknown origin for a terminal: nothing of them may move the cursor.

use std::fmt::Write;

use mshost_core::telemetry::Escaped;

/// A text as one harmless line.
pub(super) fn terminal_line(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    // Writing to a string does not fail.
    let _ = Escaped(&mut harmless).write_str(text);
    harmless
}
