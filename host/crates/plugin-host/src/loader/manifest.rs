//! Reader of the manifest (JSON) by which a plugin describes itself.

use mshost_plugin_api::Manifest;
use serde::Deserialize;

/// The longest description, in bytes. Schemas of configurations are most of it, some KiB each.
const MAX_BYTES: usize = 1 << 20;

/// What a plugin answers in place of a manifest where making that panicked.
#[derive(Deserialize)]
struct DescribePanic {
    error: String,
}

/// Reads the JSON text of a [`Manifest`].
///
/// # Errors
/// What is wrong with it, in one line.
pub(crate) fn read(text: &str) -> Result<Manifest, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("it has {} bytes, the limit is {MAX_BYTES}", text.len()));
    }
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    serde_json::from_str(text).map_err(|error| match serde_json::from_str::<DescribePanic>(text) {
        Ok(panic) => panic.error,
        Err(_) if error.is_data() => error.to_string(),
        Err(_) => format!("it is no JSON: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bad_description_is_told_in_its_own_words() {
        assert_eq!(read(" ").unwrap_err(), "it is empty");
        assert_eq!(read("hello").unwrap_err(), "it is no JSON: expected value at line 1 column 1");
        assert_eq!(
            read(r#"{"name": 3}"#).unwrap_err(),
            "invalid type: integer `3`, expected a string at line 1 column 10"
        );
        assert_eq!(read(r#"{"error": "panicked: by mistake"}"#).unwrap_err(), "panicked: by mistake");
        let long = read(&"[".repeat(MAX_BYTES + 1)).unwrap_err();
        assert_eq!(long, format!("it has {} bytes, the limit is {MAX_BYTES}", MAX_BYTES + 1));
    }
}
