//! Translation of the dynamic linker's messages into errors that say what to do.

use std::path::Path;

use super::load_error::LoadFailure;

/// The longest message of the linker that is passed on, in characters.
const MAX_MESSAGE: usize = 300;

/// The failure that a message of glibc's `dlopen` about the copy at `path` means. The messages are no interface, so what is
/// not understood is passed on.
pub(crate) fn explain(message: &str, path: &Path) -> LoadFailure {
    // The copy's own name means nothing to the user.
    let copy = path.to_string_lossy();
    let message = message.strip_prefix(&*copy).map_or(message, |rest| rest.trim_start_matches(':').trim_start());
    if let Some((library, _)) = message.split_once(": cannot open shared object file: No such file") {
        return LoadFailure::MissingLibrary(library.to_owned());
    }
    if let Some(symbol) = message.strip_prefix("undefined symbol: ") {
        return LoadFailure::MissingSymbol(symbol.to_owned());
    }
    if let Some((library, rest)) = message.split_once(": version `")
        && let Some((version, _)) = rest.split_once("' not found")
    {
        let library = Path::new(library).file_name().map_or(library.into(), |name| name.to_string_lossy());
        return LoadFailure::OldLibrary { version: version.to_owned(), library: library.into_owned() };
    }
    LoadFailure::Open(message.replace(&*copy, "it").chars().take(MAX_MESSAGE).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &str) -> String {
        explain(message, Path::new("/state/shadow/db.7.1.so")).to_string()
    }

    #[test]
    fn what_the_loader_says_becomes_what_to_do() {
        let missing = said("libpq.so.5: cannot open shared object file: No such file or directory");
        assert!(missing.starts_with("it needs the library `libpq.so.5`, which is not on this machine"), "{missing}");
        let symbol = said("/state/shadow/db.7.1.so: undefined symbol: PQexec, version PQ_14");
        assert!(symbol.starts_with("it needs the symbol `PQexec, version PQ_14`"), "{symbol}");
        let old = said("/lib/libc.so.6: version `GLIBC_2.99' not found (required by /state/shadow/db.7.1.so)");
        assert!(old.starts_with("it needs GLIBC_2.99 of libc.so.6, which is older"), "{old}");
    }

    #[test]
    fn what_is_not_understood_is_passed_on_without_the_name_of_the_copy() {
        let words = said("/state/shadow/db.7.1.so: cannot allocate memory in static TLS block");
        assert_eq!(words, "the dynamic loader refuses it: cannot allocate memory in static TLS block");
        assert!(said(&"x".repeat(10_000)).len() < 400);
    }
}
