//! A plan as a person reads it.

use super::super::terminal_line::terminal_line;
use crate::admin::{PluginAction, ReloadReport, TakesEffect, WorkerAction};

/// One line of a table: a mark, what happens, to what, of which plugin, why.
type ReportRow = [String; 5];

pub(super) fn render(report: &ReloadReport) -> String {
    let mut parts = vec![compared_with(report)];
    parts.extend(report.errors.iter().chain(&report.warnings).map(|said| terminal_line(said)));
    let rows = rows(report);
    if !rows.is_empty() {
        parts.push(String::new());
        parts.push(table(&rows));
        parts.push(String::new());
    }
    parts.push(summary(report));
    parts.join("\n")
}

fn compared_with(report: &ReloadReport) -> String {
    match &report.host {
        Some(host) => {
            let (name, file) = (terminal_line(&host.name), terminal_line(&host.topology.display().to_string()));
            format!("compared with the host {name}, which runs {file} (revision {})", host.revision)
        }
        None => "compared with nothing running".to_owned(),
    }
}

fn rows(report: &ReloadReport) -> Vec<ReportRow> {
    let of_bus = report.bus.iter().map(|bus| {
        let to = if bus.from == bus.to { String::new() } else { format!(" → {}", bus.to) };
        ["~", "move", &format!("bus {}{to}", bus.from), "", &bus.waiting].map(terminal_line)
    });
    let of_workers = report.changes.iter().map(|change| {
        let (mark, action) = of_worker(change.action);
        [mark, action, &format!("worker {}", change.slot), &change.plugin, &change.reasons.join("; ")]
            .map(terminal_line)
    });
    let of_plugins = report.plugins.iter().map(|plugin| {
        let (mark, action) = of_plugin(plugin.action);
        [mark, action, &format!("plugin {}", plugin.name), "", &plugin.reason].map(terminal_line)
    });
    let of_settings = report.settings.iter().map(|setting| {
        let (mark, action, why) = match setting.takes_effect {
            TakesEffect::Now => ("~", "set", "takes effect at once"),
            TakesEffect::Restart => ("!", "restart", "takes effect only when the host is started again"),
        };
        [mark, action, &setting.setting, "", why].map(terminal_line)
    });
    of_bus.chain(of_workers).chain(of_plugins).chain(of_settings).collect()
}

fn of_worker(action: WorkerAction) -> (&'static str, &'static str) {
    match action {
        WorkerAction::Start => ("+", "start"),
        WorkerAction::Swap => ("~", "swap"),
        WorkerAction::Restart => ("~", "restart"),
        WorkerAction::Stop => ("-", "stop"),
        WorkerAction::Wait => ("?", "wait"),
    }
}

fn of_plugin(action: PluginAction) -> (&'static str, &'static str) {
    match action {
        PluginAction::Load => ("+", "load"),
        PluginAction::Swap => ("~", "swap"),
        PluginAction::Unload => ("-", "unload"),
        PluginAction::Refused => ("!", "refused"),
        PluginAction::Missing => ("?", "missing"),
        PluginAction::FileGone => ("!", "file gone"),
    }
}

fn table(rows: &[ReportRow]) -> String {
    let mut widths = [0; 5];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let lines = rows.iter().map(|row| {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("  {}", cells.join("  ").trim_end())
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn summary(report: &ReloadReport) -> String {
    let workers = [
        (WorkerAction::Start, "to start"),
        (WorkerAction::Swap, "to swap"),
        (WorkerAction::Restart, "to restart"),
        (WorkerAction::Stop, "to stop"),
        (WorkerAction::Wait, "to wait for their plugin"),
    ];
    let counts = workers.into_iter().filter_map(|(action, what)| {
        let count = report.changes.iter().filter(|change| change.action == action).count();
        (count > 0).then(|| format!("{count} {what}"))
    });
    let counts: Vec<_> = counts.collect();
    match (report.errors.is_empty(), counts.is_empty(), report.has_changes()) {
        (false, ..) => "the topology cannot be applied as it is".to_owned(),
        (true, false, _) => format!("workers: {}", counts.join(", ")),
        (true, true, true) => "no worker changes".to_owned(),
        (true, true, false) => "nothing to change".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{BusChange, PluginChange, RunningHost, SettingChange, WorkerChange};

    fn change(slot: &str, action: WorkerAction, reasons: &[&str]) -> WorkerChange {
        WorkerChange {
            slot: slot.to_owned(),
            worker_type: "WB".to_owned(),
            plugin: "db".to_owned(),
            action,
            reasons: reasons.iter().map(|&reason| reason.to_owned()).collect(),
        }
    }

    #[test]
    fn a_plan_is_a_table_that_moves_no_cursor() {
        let report = ReloadReport {
            host: Some(RunningHost { name: "movies".to_owned(), topology: "/srv/topology.toml".into(), revision: 3 }),
            bus: Some(BusChange {
                from: "embedded".to_owned(),
                to: "amqp://h".to_owned(),
                waiting: "what waits there is done".to_owned(),
            }),
            changes: vec![
                change("WB[0]", WorkerAction::Swap, &["concurrency 64 → 8", "config"]),
                change("WB[1]", WorkerAction::Start, &["instances 1 → 2"]),
            ],
            plugins: vec![PluginChange {
                name: "x\u{1b}[2J".to_owned(),
                action: PluginAction::Missing,
                reason: "it is not in the folder of plugins".to_owned(),
            }],
            settings: vec![SettingChange { setting: "[host] admin".to_owned(), takes_effect: TakesEffect::Restart }],
            ..ReloadReport::default()
        };
        let expected = "\
compared with the host movies, which runs /srv/topology.toml (revision 3)

  ~  move     bus embedded → amqp://h      what waits there is done
  ~  swap     worker WB[0]             db  concurrency 64 → 8; config
  +  start    worker WB[1]             db  instances 1 → 2
  ?  missing  plugin x\\u{1b}[2J            it is not in the folder of plugins
  !  restart  [host] admin                 takes effect only when the host is started again

workers: 1 to start, 1 to swap";
        assert_eq!(render(&report), expected);
    }

    #[test]
    fn nothing_to_change_is_said_in_a_line_and_errors_are_not_nothing() {
        let nothing = ReloadReport::default();
        assert_eq!(render(&nothing), "compared with nothing running\nnothing to change");
        let errors = vec!["topology.toml:3:5: error: no".to_owned()];
        let shown = render(&ReloadReport { errors, ..nothing });
        assert!(shown.ends_with("topology.toml:3:5: error: no\nthe topology cannot be applied as it is"), "{shown}");
    }
}
