//! The fixture `counter` in many versions, and what it shows.
#![allow(clippy::expect_used)] // a harness fails by panicking

use crate::fixtures::fixture;
use crate::movie_example::places_of;

/// What the fixture says that it is.
const MODE: &str = "mode-000";

/// The library of `counter` or `counter-2` as another version of itself: three characters, which `CP` takes for how many of
/// a hundred jobs it fails.
///
/// # Panics
/// Where the library does not hold its mode.
#[must_use]
pub fn library(name: &str, mode: &str) -> Vec<u8> {
    let mut library = std::fs::read(fixture(name)).expect("the fixture is built");
    let places = places_of(&library, MODE.as_bytes());
    assert!(!places.is_empty() && mode.len() == 3, "cannot make the version {mode}");
    for place in places {
        library[place + 5..place + 8].copy_from_slice(mode.as_bytes());
    }
    library
}

/// The value of a series in the text of `/metrics`.
#[must_use]
pub fn value(metrics: &str, series: &str) -> Option<u64> {
    let line = metrics.lines().find(|line| line.starts_with(series))?;
    Some(line.rsplit(' ').next()?.parse::<f64>().ok()? as u64)
}
