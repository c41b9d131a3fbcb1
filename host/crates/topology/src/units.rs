//! Durations and sizes as the topology writes them: a number and its unit.

use std::time::Duration;

/// Longer text is no duration: it bounds what is parsed and said.
const MAX_TEXT: usize = 64;

/// Digits of one number of a duration. Fewer than overflow the arithmetic of `humantime`, which panics where seconds
/// reach `u64::MAX`.
const MAX_DIGITS: usize = 9;

/// The sizes' units and how many bytes each is. Largest first, as [`format_size`] needs them.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// Why a text is not a duration or a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// There is a number and nothing else.
    #[error("the unit is missing")]
    NoUnit,
    /// The unit is none that we know.
    #[error("there is no unit `{0}`")]
    UnknownUnit(String),
    /// It does not start with a number.
    #[error("a number is missing")]
    NoNumber,
    /// Beyond what can be counted.
    #[error("the number is too large")]
    TooLarge,
    /// Anything else.
    #[error("it is not a number and a unit")]
    Malformed,
}

/// Reads a duration: `"250ms"`, `"2s"`, `"1m 30s"`, `"1.5h"`. The units are those of `humantime`.
///
/// # Errors
/// [`UnitError`], to be completed by what was expected.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let longest = text.split(|c: char| !c.is_ascii_digit() && !c.is_whitespace()).map(str::len).max().unwrap_or(0);
    if longest > MAX_DIGITS && text.chars().all(|c| c.is_ascii_digit()) {
        return Err(UnitError::NoUnit);
    }
    if text.len() > MAX_TEXT || longest > MAX_DIGITS {
        return Err(UnitError::TooLarge);
    }
    humantime::parse_duration(text).map_err(|error| match error {
        humantime::DurationError::UnknownUnit { unit, .. } if unit.is_empty() => UnitError::NoUnit,
        humantime::DurationError::UnknownUnit { unit, .. } => UnitError::UnknownUnit(unit),
        humantime::DurationError::NumberOverflow => UnitError::TooLarge,
        humantime::DurationError::NumberExpected(_) | humantime::DurationError::Empty => UnitError::NoNumber,
        humantime::DurationError::InvalidCharacter(_) => UnitError::Malformed,
    })
}

/// Reads a size in bytes: `"64KiB"`, `"16 MiB"`, `"1.5GB"`. `KiB` is 1024 bytes, `kB` is 1000; case does not matter.
///
/// # Errors
/// [`UnitError`], to be completed by what was expected.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let text = text.trim();
    let number_len = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..number_len], text[number_len..].trim_start());
    if number.is_empty() {
        return Err(UnitError::NoNumber);
    }
    if unit.is_empty() {
        return Err(UnitError::NoUnit);
    }
    let factor = SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| *factor);
    let factor = factor.ok_or_else(|| UnitError::UnknownUnit(unit.chars().take(MAX_TEXT).collect()))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u64 =
        whole.parse().map_err(|_| if whole.is_empty() { UnitError::NoNumber } else { UnitError::TooLarge })?;
    // Nine decimals of a TiB are about a kB: more digits are a mistake.
    if fraction.is_empty() || fraction.contains('.') || fraction.len() > MAX_DIGITS {
        return Err(UnitError::Malformed);
    }
    let numerator: u128 = fraction.parse().map_err(|_| UnitError::Malformed)?;
    let fraction = numerator * u128::from(factor) / 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(u32::MAX));
    u128::from(whole)
        .checked_mul(u128::from(factor))
        .and_then(|bytes| bytes.checked_add(fraction))
        .and_then(|bytes| u64::try_from(bytes).ok())
        .ok_or(UnitError::TooLarge)
}

/// Writes a size so that [`parse_size`] reads the same number of bytes: in the largest unit that is exact.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    SIZES
        .iter()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .map_or_else(|| format!("{bytes}B"), |(unit, factor)| format!("{}{unit}", bytes / factor))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1.5h"), Ok(Duration::from_secs(5_400)));
        assert_eq!(parse_duration("30"), Err(UnitError::NoUnit));
        assert_eq!(parse_duration("30000000000"), Err(UnitError::NoUnit));
        assert_eq!(parse_duration("30 parsecs"), Err(UnitError::UnknownUnit("parsecs".into())));
        assert_eq!(parse_duration(""), Err(UnitError::NoNumber));
        assert_eq!(parse_duration("s"), Err(UnitError::NoNumber));
        assert_eq!(parse_duration("-1s"), Err(UnitError::NoNumber));
        assert_eq!(parse_duration("99999999999s"), Err(UnitError::TooLarge));
    }

    #[test]
    fn a_sum_of_exactly_the_largest_duration_does_not_panic() {
        assert_eq!(parse_duration("18446744073709551615s 1000000000ns"), Err(UnitError::TooLarge));
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("16 MiB"), Ok(16 << 20));
        assert_eq!(parse_size("1.5kb"), Ok(1_500));
        assert_eq!(parse_size("0B"), Ok(0));
        assert_eq!(parse_size("64"), Err(UnitError::NoUnit));
        assert_eq!(parse_size("64 potatoes"), Err(UnitError::UnknownUnit("potatoes".into())));
        assert_eq!(parse_size("KiB"), Err(UnitError::NoNumber));
        assert_eq!(parse_size("1.2.3kB"), Err(UnitError::Malformed));
        assert_eq!(parse_size("99999999TiB"), Err(UnitError::TooLarge));
        assert_eq!(parse_size("99999999999999999999999B"), Err(UnitError::TooLarge));
    }

    proptest! {
        #[test]
        fn sizes_round_trip(bytes: u64, shift in 0_u32..64) {
            let bytes = bytes >> shift << (shift / 2);
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }

        #[test]
        fn durations_round_trip(seconds in 0_u64..100_000_000, millis in 0_u32..1_000) {
            let duration = Duration::new(seconds, millis * 1_000_000);
            let text = humantime::format_duration(duration).to_string();
            prop_assert_eq!(parse_duration(&text), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "[0-9smhdyn.k iBKM\u{e4}-]{0,40}|.{0,80}") {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
