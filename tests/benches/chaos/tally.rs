//! What happened from each fault until the next.

use std::fmt::Write;

use mshost_tests::history::HistoryVerdict;
use mshost_tests::history::broker_faults::BrokerFault;

/// The figures at one time: accepted, executed, reported, dead letters, duplicates.
type VerdictFigures = [u64; 5];

/// Sums, by fault.
#[derive(Default)]
pub struct FaultTally {
    rows: Vec<(BrokerFault, u64, VerdictFigures)>,
    /// Before the next fault.
    before: VerdictFigures,
}

impl FaultTally {
    /// The faults begin.
    pub fn begin(&mut self, verdict: &HistoryVerdict) {
        self.before = figures(verdict);
    }

    /// A fault is over: what happened since the last one is put down to it.
    pub fn end(&mut self, fault: BrokerFault, verdict: &HistoryVerdict) {
        let now = figures(verdict);
        let place = self.rows.iter().position(|row| row.0 == fault).unwrap_or_else(|| {
            self.rows.push((fault, 0, VerdictFigures::default()));
            self.rows.len() - 1
        });
        let (_, times, sums) = &mut self.rows[place];
        *times += 1;
        for (sum, (now, before)) in sums.iter_mut().zip(now.iter().zip(self.before)) {
            *sum += now.saturating_sub(before);
        }
        self.before = now;
    }

    /// A row for each fault, and one for everything, until the end.
    pub fn table(&self, verdict: &HistoryVerdict) -> String {
        let mut text = row(
            "fault",
            ["times", "accepted", "executed", "on_error", "dead", "duplicates", "lost"].map(str::to_owned),
        );
        for (fault, times, figures) in &self.rows {
            text += &numbers(&fault.to_string(), *times, *figures, "");
        }
        let times = self.rows.iter().map(|row| row.1).sum();
        text + &numbers("everything", times, figures(verdict), &verdict.lost().to_string())
    }
}

fn figures(verdict: &HistoryVerdict) -> VerdictFigures {
    let duplicates = verdict.duplicates.iter().sum();
    [verdict.accepted, verdict.executed, verdict.reported, verdict.dead_letters, duplicates]
}

fn numbers(what: &str, times: u64, figures: VerdictFigures, lost: &str) -> String {
    let [accepted, executed, reported, dead, duplicates] = figures.map(|figure| figure.to_string());
    row(what, [times.to_string(), accepted, executed, reported, dead, duplicates, lost.to_owned()])
}

fn row(what: &str, cells: [String; 7]) -> String {
    let mut text = format!("{what:<30}");
    for cell in cells {
        let _ = write!(text, "  {cell:>10}");
    }
    text + "\n"
}
