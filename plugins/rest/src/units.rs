//! Times and sizes with their units, as a person writes them: `"10s"`, `"64KiB"`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

/// Reads `"10s"`, `"500ms"`, `"1m 30s"`.
///
/// # Errors
/// Where the text is no duration.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map_err(|error| D::Error::custom(format!("expected a duration like \"10s\", found {text:?}: {error}")))
}

/// Reads `"64KiB"`, `"1MiB"`, `"500B"` as bytes.
///
/// # Errors
/// Where the text is no size.
pub fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_size(&text).ok_or_else(|| D::Error::custom(format!("expected a size like \"64KiB\", found {text:?}")))
}

fn parse_size(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: usize = match unit.trim_start() {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("64KiB"), Some(65_536));
        assert_eq!(parse_size("2 MB"), Some(2_000_000));
        assert_eq!(parse_size("0B"), Some(0));
        for wrong in
            ["", "64", "KiB", "-1KiB", "1.5MiB", "64 potatoes", "99999999999999999999B", "18446744073709551615KiB"]
        {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }
}
