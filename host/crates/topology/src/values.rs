//! Readers for the kinds of values that the topology has.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::suggest;
use super::units::{UnitError, parse_duration, parse_size};
use super::walk::Node;

/// Longer durations are mistakes of the unit, and overflow what is computed from them.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

/// A string, filled in.
pub(super) fn text(node: &Node<'_, '_>) -> Option<String> {
    match node.text() {
        Some(text) => text.ok().map(String::from),
        None => node.expected("a string"),
    }
}

/// A path, relative to `folder`.
pub(super) fn path_in(folder: &Path) -> impl Fn(&Node<'_, '_>) -> Option<PathBuf> {
    move |node| match text(node)? {
        text if text.is_empty() => node.expected("a path"),
        text => Some(folder.join(text)),
    }
}

/// A duration with its unit.
pub(super) fn duration(node: &Node<'_, '_>) -> Option<Duration> {
    const WHAT: &str = "a duration with its unit, such as \"2s\" or \"250ms\"";
    let text = match (node.text(), node.value.get_ref()) {
        (Some(text), _) => text.ok()?,
        (None, DeValue::Integer(number)) if number.as_str().len() <= 12 => {
            let help = format!("write \"{number}s\" for seconds or \"{number}ms\" for milliseconds");
            return node.expected_help(WHAT, help);
        }
        _ => return node.expected(WHAT),
    };
    match parse_duration(&text) {
        Ok(duration) if duration <= MAX_DURATION => Some(duration),
        Ok(_) => node.refuse(format!("`{}` is longer than a year", node.key), "too long", None),
        Err(error) => unit_error(node, WHAT, &error, &["ms", "s", "m", "h", "d"]),
    }
}

/// A duration that is not zero.
pub(super) fn positive_duration(node: &Node<'_, '_>) -> Option<Duration> {
    match duration(node)? {
        Duration::ZERO => node.refuse(format!("`{}` must be longer than zero", node.key), "is zero", None),
        duration => Some(duration),
    }
}

/// A duration, or `"off"`; zero is off.
pub(super) fn duration_or_off(node: &Node<'_, '_>) -> Option<Option<Duration>> {
    if matches!(node.text(), Some(Ok(text)) if text == "off") {
        return Some(None);
    }
    duration(node).map(|duration| (!duration.is_zero()).then_some(duration))
}

/// A size in bytes with its unit, within a range.
pub(super) fn size(range: RangeInclusive<u64>) -> impl Fn(&Node<'_, '_>) -> Option<usize> {
    const WHAT: &str = "a size with its unit, such as \"64KiB\" or \"16MiB\"";
    move |node| {
        let text = match (node.text(), node.value.get_ref()) {
            (Some(text), _) => text.ok()?,
            (None, DeValue::Integer(number)) if number.as_str().len() <= 12 => {
                return node.expected_help(WHAT, format!("write \"{number}B\" for bytes"));
            }
            _ => return node.expected(WHAT),
        };
        match parse_size(&text) {
            Ok(bytes) if range.contains(&bytes) => usize::try_from(bytes).ok(),
            Ok(_) => {
                let [low, high] = [*range.start(), *range.end()].map(super::units::format_size);
                node.refuse(format!("`{}` must be from {low} to {high}", node.key), "out of range", None)
            }
            Err(error) => unit_error(node, WHAT, &error, &["B", "KiB", "MiB", "GiB"]),
        }
    }
}

fn unit_error<T>(node: &Node<'_, '_>, what: &str, error: &UnitError, units: &[&str]) -> Option<T> {
    let help = match error {
        UnitError::NoUnit | UnitError::UnknownUnit(_) => {
            Some(format!("the unit is {}", suggest::any_of(units.iter().copied())))
        }
        UnitError::NoNumber | UnitError::TooLarge | UnitError::Malformed => None,
    };
    node.refuse(format!("`{}`: expected {what}, but {error}", node.key), error.to_string(), help)
}

/// A whole number within a range.
pub(super) fn integer<T>(range: RangeInclusive<T>) -> impl Fn(&Node<'_, '_>) -> Option<T>
where
    T: TryFrom<i128> + PartialOrd + Display,
{
    move |node| {
        let what = || format!("a whole number from {} to {}", range.start(), range.end());
        let number = match node.value.get_ref() {
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix()).ok(),
            DeValue::String(_) if node.is_filled_in() => text(node)?.trim().parse().ok(),
            DeValue::String(text) if text.trim().parse::<i128>().is_ok() => {
                return node.expected_help(&what(), "leave the quotes out");
            }
            _ => return node.expected(&what()),
        };
        match number.and_then(|number| T::try_from(number).ok()).filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => node.expected(&what()),
        }
    }
}

/// A number within a range.
pub(super) fn number(range: RangeInclusive<f64>) -> impl Fn(&Node<'_, '_>) -> Option<f64> {
    move |node| {
        let what = || format!("a number from {} to {}", range.start(), range.end());
        let number: Option<f64> = match node.value.get_ref() {
            DeValue::Integer(number) => i32::from_str_radix(number.as_str(), number.radix()).ok().map(f64::from),
            DeValue::Float(number) => number.as_str().parse().ok(),
            DeValue::String(_) if node.is_filled_in() => text(node)?.trim().parse().ok(),
            _ => None,
        };
        number.filter(|number| range.contains(number)).or_else(|| node.expected(&what()))
    }
}

/// `true` or `false`.
pub(super) fn boolean(node: &Node<'_, '_>) -> Option<bool> {
    match node.value.get_ref() {
        DeValue::Boolean(value) => Some(*value),
        DeValue::String(_) if node.is_filled_in() => match text(node)?.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => node.expected("`true` or `false`"),
        },
        DeValue::String(text) if text == "true" || text == "false" => {
            node.expected_help("`true` or `false`", "leave the quotes out")
        }
        _ => node.expected("`true` or `false`"),
    }
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&Node<'_, '_>) -> Option<T> {
    move |node| {
        let names = || words.iter().map(|(name, _)| *name);
        let what = suggest::any_of(names());
        let Some(text) = node.text() else { return node.expected(&what) };
        let text = text.ok()?;
        if let Some((_, value)) = words.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let help = suggest::nearest(&text, names()).map(|near| format!("did you mean `{near}`?"));
        node.refuse(format!("`{}`: expected {what}", node.key), format!("expected {what}"), help)
    }
}

/// An IP address and a port.
pub(super) fn address(node: &Node<'_, '_>) -> Option<SocketAddr> {
    const WHAT: &str = "an IP address and a port, such as \"127.0.0.1:8080\"";
    let text = match (node.text(), node.value.get_ref()) {
        (Some(text), _) => text.ok()?,
        (None, DeValue::Integer(port)) if port.as_str().len() <= 5 => {
            return node.expected_help(WHAT, format!("write \"127.0.0.1:{port}\""));
        }
        _ => return node.expected(WHAT),
    };
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((&text, ""));
    let help = match (host, port.parse::<u16>()) {
        ("localhost", Ok(port)) => Some(format!("names are not looked up; write \"127.0.0.1:{port}\"")),
        ("" | "*", Ok(port)) => {
            Some(format!("write \"127.0.0.1:{port}\", or \"0.0.0.0:{port}\" to be reached from other machines"))
        }
        (_, Err(_)) if text.parse::<IpAddr>().is_ok() => Some("add a port, such as `:8080`".to_owned()),
        _ => None,
    };
    node.refuse(format!("`{}`: expected {WHAT}", node.key), format!("expected {WHAT}"), help)
}
