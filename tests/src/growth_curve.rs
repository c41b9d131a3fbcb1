//! What a host holds over many reloads: shown as a curve, and judged by its slope.

use std::fmt;

use crate::footprint::Footprint;

/// What may be added over a run, whatever its length: the last measure is not taken in the same breath as the first.
const SLACK: Footprint = Footprint { rss_kib: 4 * 1_024, descriptors: 16, threads: 16, libraries: 4 };

/// What each reload may add beyond that. Less than the smallest thing that can be forgotten once a reload.
const EACH: [f64; 4] = [0.25, 0.002, 0.002, 0.002];

/// The share of a run that is warm-up: allocators and caches find their size.
const WARM_UP: f64 = 0.2;

const NAMES: [&str; 4] = ["RSS KiB", "fds", "threads", "libraries"];
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const WIDTH: usize = 60;

/// One measure.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// Reloads so far.
    pub reloads: u64,
    /// What the host holds.
    pub footprint: Footprint,
}

/// All measures of one process.
#[derive(Debug, Clone, Default)]
pub struct Curve {
    points: Vec<Point>,
}

/// How one quantity grew after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Growth {
    name: &'static str,
    /// What the line through the measures rises by from the end of the warm-up to the last one.
    pub rise: f64,
    /// The most that it may.
    pub limit: f64,
    reloads: f64,
}

impl Curve {
    /// Adds a measure.
    pub fn push(&mut self, reloads: u64, footprint: Footprint) {
        self.points.push(Point { reloads, footprint });
    }

    /// How each quantity grew. Nothing is said of fewer than three measures.
    #[must_use]
    pub fn growth(&self) -> Vec<Growth> {
        let last = self.points.last().map_or(0, |point| point.reloads);
        let warm: Vec<_> = self.points.iter().filter(|point| point.reloads as f64 >= WARM_UP * last as f64).collect();
        if warm.len() < 3 {
            return Vec::new();
        }
        let reloads = (last - warm[0].reloads) as f64;
        let grown = |index: usize| {
            let line = warm.iter().map(|point| (point.reloads as f64, quantities(&point.footprint)[index]));
            let limit = quantities(&SLACK)[index] + EACH[index] * reloads;
            Growth { name: NAMES[index], rise: slope(line) * reloads, limit, reloads }
        };
        (0..NAMES.len()).map(grown).collect()
    }

    /// What grew beyond its limit.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.growth().iter().filter(|growth| growth.rise > growth.limit).map(Growth::to_string).collect()
    }

    fn line(&self, index: usize) -> String {
        let values: Vec<_> = self.points.iter().map(|point| quantities(&point.footprint)[index]).collect();
        let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
        let columns = WIDTH.min(values.len());
        let bar = |column: usize| {
            let (from, to) = (column * values.len() / columns, (column + 1) * values.len() / columns);
            let mean = values[from..to].iter().sum::<f64>() / (to - from) as f64;
            let height = if high > low { (mean - low) / (high - low) } else { 0.0 };
            BARS[((height * BARS.len() as f64) as usize).min(BARS.len() - 1)]
        };
        let bars: String = (0..columns).map(bar).collect();
        format!("{:<9}  {bars}  {low:.0} to {high:.0}", NAMES[index])
    }
}

/// A bar for each quantity and time, and how each grew.
impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.points.is_empty() {
            return writeln!(f, "nothing was measured");
        }
        (0..NAMES.len()).try_for_each(|index| writeln!(f, "{}", self.line(index)))?;
        self.growth().iter().try_for_each(|growth| writeln!(f, "{growth}"))
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, rise, limit, reloads } = self;
        let verdict = if rise > limit { "GROWS" } else { "flat" };
        let each = rise / reloads.max(1.0);
        write!(f, "{name:<9}  {verdict}: {rise:+.0} in {reloads:.0} reloads ({each:+.4} each), at most {limit:.0}")
    }
}

fn quantities(footprint: &Footprint) -> [f64; 4] {
    let Footprint { rss_kib, descriptors, threads, libraries } = *footprint;
    [rss_kib, descriptors, threads, libraries].map(|quantity| quantity as f64)
}

/// Of the straight line that is nearest to all points.
fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let count = points.clone().count() as f64;
    let (x_sum, y_sum) = points.clone().fold((0.0, 0.0), |(x_sum, y_sum), (x, y)| (x_sum + x, y_sum + y));
    let (x_mean, y_mean) = (x_sum / count, y_sum / count);
    let (over, under) = points
        .fold((0.0, 0.0), |(over, under), (x, y)| (over + (x - x_mean) * (y - y_mean), under + (x - x_mean).powi(2)));
    if under > 0.0 { over / under } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(each: u64, rss: impl Fn(u64) -> u64, descriptors: impl Fn(u64) -> u64) -> Curve {
        let mut curve = Curve::default();
        for reloads in (0..=10_000).step_by(each as usize) {
            let footprint =
                Footprint { rss_kib: rss(reloads), descriptors: descriptors(reloads), threads: 9, libraries: 6 };
            curve.push(reloads, footprint);
        }
        curve
    }

    #[test]
    fn a_warm_up_and_a_wave_are_flat() {
        let wave = |n: u64| 90_000 + 20 * n.min(1_500) + 4_000 * (n / 100 % 2);
        let curve = curve(100, wave, |n| 40 + n / 100 % 7);
        assert_eq!(curve.complaints(), Vec::<String>::new(), "{curve}");
    }

    #[test]
    fn two_kib_or_a_hundredth_of_a_descriptor_a_reload_are_found() {
        let complaints = curve(100, |n| 90_000 + 2 * n + 4_000 * (n / 100 % 2), |n| 40 + n / 100).complaints();
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert!(complaints[0].contains("RSS") && complaints[1].contains("fds"), "{complaints:?}");
    }

    #[test]
    fn a_quantity_is_a_line_of_bars() {
        let shown = curve(1_000, |n| n, |_| 5).to_string();
        assert!(shown.contains("RSS KiB    ▁▁▂▃▄▅▅▆▇██  0 to 10000"), "{shown}");
        assert!(shown.contains("fds        ▁▁▁▁▁▁▁▁▁▁▁  5 to 5"), "{shown}");
    }
}
