//! Names that a plugin, its library and its crate can all have.

/// The longest name, in bytes.
const MAX_LEN: usize = 64;

/// Names that rustc or Cargo give a meaning of their own.
const TAKEN: [&str; 54] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mshost",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "unsafe",
    "use",
    "where",
    "while",
];

/// A name that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} cannot name a plugin: {reason}; expected lower-case letters, digits and `_`, a letter first, as in `{suggestion}`"
)]
pub(super) struct InvalidName {
    name: String,
    reason: &'static str,
    suggestion: String,
}

/// The name of a plugin to be.
#[derive(Debug)]
pub(super) struct PluginCrateName(String);

impl PluginCrateName {
    pub(super) fn new(name: &str) -> Result<Self, InvalidName> {
        match objection(name) {
            None => Ok(Self(name.to_owned())),
            Some(reason) => Err(InvalidName { name: name.to_owned(), reason, suggestion: suggest(name) }),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// `ImageResizer` for `image_resizer`.
    pub(super) fn type_name(&self) -> String {
        let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
        self.0.split('_').filter(|word| !word.is_empty()).map(capital).collect()
    }

    /// `IMAGE_RESIZER` for `image_resizer`: types are upper case on the bus by convention.
    pub(super) fn worker_type(&self) -> String {
        self.0.to_ascii_uppercase()
    }
}

/// Why a name cannot be used.
fn objection(name: &str) -> Option<&'static str> {
    Some(if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_LEN {
        "it is longer than 64 bytes"
    } else if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        "it does not begin with a lower-case letter"
    } else if name.contains(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')) {
        "it holds other characters"
    } else if name.starts_with("lib") {
        // The file would be `liblibx.so`, and a search for `libx.so` finds nothing.
        "`lib` is put before it anyway"
    } else if TAKEN.contains(&name) {
        "Rust or Cargo give that word a meaning of its own"
    } else if name.ends_with('_') || name.contains("__") {
        "`_` stands between words only"
    } else {
        return None;
    })
}

/// The nearest name that could be used.
fn suggest(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
        .take(MAX_LEN)
        .collect();
    let plain = plain.trim_start_matches(|c: char| !c.is_ascii_lowercase()).trim_start_matches("lib");
    let words: Vec<&str> = plain.split('_').filter(|word| !word.is_empty()).collect();
    let joined = words.join("_");
    if objection(&joined).is_none() { joined } else { "image_resizer".to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_that_cannot_be_used_says_why_and_what_could() {
        for (name, suggestion) in [
            ("", "image_resizer"),
            ("Image-Resizer", "image_resizer"),
            ("libdb", "db"),
            ("../../etc", "etc"),
            ("9lives", "lives"),
            ("test", "image_resizer"),
            ("a__b_", "a_b"),
            ("été", "t"),
            ("a\nb", "a_b"),
        ] {
            let error = PluginCrateName::new(name).unwrap_err();
            assert_eq!(error.suggestion, suggestion, "{name:?}: {error}");
        }
    }

    #[test]
    fn other_names_follow_from_it() {
        let name = PluginCrateName::new("image_resizer2").unwrap();
        assert_eq!((name.type_name().as_str(), name.worker_type().as_str()), ("ImageResizer2", "IMAGE_RESIZER2"));
    }

    proptest! {
        #[test]
        fn what_is_suggested_can_be_used(name in any::<String>()) {
            if let Err(error) = PluginCrateName::new(&name) {
                prop_assert!(PluginCrateName::new(&error.suggestion).is_ok(), "{}", error);
            }
        }

        #[test]
        fn what_is_accepted_is_harmless_in_paths_and_source(name in "[a-z_0-9A-Z/.-]{0,12}") {
            if let Ok(name) = PluginCrateName::new(&name) {
                prop_assert!(mshost_plugin_api::WorkerType::new(&name.worker_type()).is_ok());
                prop_assert!(name.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
                prop_assert!(name.type_name().starts_with(|c: char| c.is_ascii_uppercase()));
            }
        }
    }
}
