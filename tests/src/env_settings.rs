//! How the long runs (`make bench`, `make chaos`, `make soak`) are set, and what they print.

use std::io::Write;

/// A number of the environment.
///
/// # Errors
/// A message for the user, where it is no number.
pub fn number(name: &str, default: u64) -> Result<u64, String> {
    match std::env::var(name) {
        Ok(text) => text.parse().map_err(|error| format!("{name}: expected a number, found {text:?}: {error}")),
        Err(_) => Ok(default),
    }
}

/// Prints a line; nobody reading it is no failure.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
