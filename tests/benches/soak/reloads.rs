//! Plugins and topologies one after the other, alone and mixed, and what the host holds meanwhile.

use std::time::{Duration, Instant};

use mshost_tests::growth_curve::Curve;
use mshost_tests::seeded_rng::SeededRng;

use crate::rig::SoakRig;
use crate::say;
use crate::shape::PLUGINS;

/// The most plugins that are replaced at a time.
const AT_A_TIME: u64 = 5;

/// After so many rounds in which nothing is measured the old versions are waited for.
const POINTS: u64 = 100;

/// How long a reload may take on average, in a phase that has a second minute to begin with.
const EACH: Duration = Duration::from_secs(1);

/// Reloads so often.
///
/// # Errors
/// What went wrong first.
pub fn reload(rig: &mut SoakRig, reloads: u64, rng: &mut SeededRng, curve: &mut Curve) -> Result<(), String> {
    let began = Instant::now();
    let limit = Duration::from_secs(60) + EACH * u32::try_from(reloads).unwrap_or(u32::MAX);
    let step = (reloads / POINTS).max(1);
    let mut done = 0;
    header();
    measure(rig, done, began, curve)?;
    while done < reloads {
        let due = (done / step + 1) * step;
        while done < due {
            done += round(rig, rng)?;
            rig.are_clients_served()?;
            if began.elapsed() > limit {
                return Err(format!("only {done} reloads in {limit:?}"));
            }
        }
        measure(rig, done, began, curve)?;
    }
    Ok(())
}

/// Some plugins, or the topology, or both. How many reloads that were.
fn round(rig: &mut SoakRig, rng: &mut SeededRng) -> Result<u64, String> {
    let kind = rng.within(0..4);
    let mut plugins = Vec::new();
    if kind > 0 {
        for _ in 0..rng.within(1..AT_A_TIME + 1) {
            plugins.push(rng.pick(&PLUGINS).0);
        }
        plugins.sort_unstable();
        plugins.dedup();
    }
    let types = if kind < 2 { Some(rig.shape.change(rng)) } else { None };
    let before = rig.before(&plugins, types.as_deref().unwrap_or_default());
    for plugin in &plugins {
        rig.replace(plugin);
    }
    if types.is_some() {
        rig.save();
    }
    rig.until_shaped(&before)?;
    Ok(plugins.len() as u64 + u64::from(types.is_some()))
}

fn header() {
    say(&format!(
        "{:>8} {:>7} {:>9} {:>9} {:>5} {:>7} {:>9} {:>9} {:>9}",
        "seconds", "reloads", "reloads/s", "RSS KiB", "fds", "threads", "libraries", "pipelines", "requests"
    ));
}

/// A line, and a point of the curve.
pub fn measure(rig: &mut SoakRig, done: u64, began: Instant, curve: &mut Curve) -> Result<(), String> {
    let footprint = rig.footprint()?;
    let pipelines = rig.history()?.executed();
    let seconds = began.elapsed().as_secs_f64();
    say(&format!(
        "{seconds:>8.1} {done:>7} {:>9.1} {:>9} {:>5} {:>7} {:>9} {pipelines:>9} {:>9}",
        done as f64 / seconds.max(0.001),
        footprint.rss_kib,
        footprint.descriptors,
        footprint.threads,
        footprint.libraries,
        rig.answered(),
    ));
    curve.push(done, footprint);
    Ok(())
}
