//! Reading files that people write: small ones, of text.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use super::diagnostics::{Diagnostic, Diagnostics};
use super::source::SourceText;
use super::units::format_size;

/// A configuration is written by hand; what is larger is another file, or `/dev/zero`.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a file's text.
///
/// # Errors
/// What the system says, or that the file is too large.
pub(crate) fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Opening a pipe would wait for its other end.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        let reason = format!("it is larger than {}", format_size(MAX_BYTES));
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(bytes)
}

/// Reads a file whose text may be shown.
///
/// # Errors
/// Without a place where the file cannot be read, with one where it is not text.
pub(crate) fn read(path: &Path) -> Result<SourceText, Diagnostics> {
    let name = path.display().to_string();
    let bytes = read_bytes(path).map_err(|error| {
        let found = Diagnostic::error(format!("cannot read {name}: {error}"));
        Diagnostics::one(Arc::new(SourceText::new(name.clone(), "")), found)
    })?;
    String::from_utf8(bytes).map(|text| SourceText::new(name.clone(), &text)).map_err(|error| {
        let source = SourceText::new(name, &String::from_utf8_lossy(error.as_bytes()));
        let bom = if error.as_bytes().starts_with("\u{feff}".as_bytes()) { '\u{feff}'.len_utf8() } else { 0 };
        let at = error.utf8_error().valid_up_to() - bom;
        let found = Diagnostic::error("the file is not UTF-8 text");
        let found = found.at(at..at + char::REPLACEMENT_CHARACTER.len_utf8(), "this is not UTF-8");
        Diagnostics::one(Arc::new(source), found)
    })
}
