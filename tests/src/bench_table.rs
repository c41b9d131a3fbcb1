//! The table that `make bench` prints: each figure next to its baseline of the same run.

use std::fmt;

/// Figures and their baselines.
#[derive(Debug, Clone, Default)]
pub struct Table {
    rows: Vec<BenchRow>,
}

#[derive(Debug, Clone)]
struct BenchRow {
    what: String,
    ours: Option<f64>,
    baseline: Option<f64>,
    /// The least and the greatest ratio of a round.
    spread: Option<(f64, f64)>,
    unit: &'static str,
}

impl Table {
    /// Adds a figure; `None` is one that was not measured.
    pub fn row(&mut self, what: impl Into<String>, ours: Option<f64>, baseline: Option<f64>, unit: &'static str) {
        self.rows.push(BenchRow { what: what.into(), ours, baseline, spread: None, unit });
    }

    /// Adds the medians of several rounds, in each of which a figure and its baseline were measured one after the other. Where
    /// there is no round it adds nothing.
    pub fn rounds(&mut self, what: impl Into<String>, rounds: &[(f64, f64)], unit: &'static str) {
        let sorted = |of: fn(&(f64, f64)) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let [ours, baseline, ratios] =
            [sorted(|round| round.0), sorted(|round| round.1), sorted(|round| round.0 / round.1)];
        if let (Some(least), Some(most)) = (ratios.first(), ratios.last()) {
            let median = |values: &[f64]| values.get(values.len() / 2).copied();
            let (ours, baseline, spread) = (median(&ours), median(&baseline), Some((*least, *most)));
            self.rows.push(BenchRow { what: what.into(), ours, baseline, spread, unit });
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.what.chars().count()).max().unwrap_or(0).max(6);
        writeln!(
            f,
            "{:<width$}  {:>12}  {:>12}  {:>6}  {:>11}  unit",
            "figure", "mshost", "baseline", "ratio", "min to max"
        )?;
        for BenchRow { what, ours, baseline, spread, unit } in &self.rows {
            let ratio = ours.zip(*baseline).map(|(ours, baseline)| format!("{:.2}", ours / baseline));
            let [ours, baseline] = [ours, baseline].map(|value| value.map_or("-".into(), figure));
            let ratio = ratio.unwrap_or("-".into());
            let spread = spread.map_or("-".into(), |(least, most)| format!("{least:.2} – {most:.2}"));
            writeln!(f, "{what:<width$}  {ours:>12}  {baseline:>12}  {ratio:>6}  {spread:>11}  {unit}")?;
        }
        Ok(())
    }
}

/// Three digits that count, no exponent.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_stands_next_to_its_baseline() {
        let mut table = Table::default();
        table.row("movie loop, embedded bus", Some(41_234.4), Some(82_468.8), "requests/s");
        table.row("ABI call", Some(1.234), None, "ns");
        table.rounds("hop", &[(90.0, 100.0), (300.0, 200.0), (160.0, 400.0)], "ns");
        assert_eq!(
            table.to_string(),
            "figure                          mshost      baseline   ratio   min to max  unit\n\
             movie loop, embedded bus         41234         82469    0.50            -  requests/s\n\
             ABI call                          1.23             -       -            -  ns\n\
             hop                                160           200    0.80  0.40 – 1.50  ns\n"
        );
    }
}
