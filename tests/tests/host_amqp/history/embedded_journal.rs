//! The embedded bus with a journal, and a host that is killed in full swing.

use std::time::Duration;

use mshost_tests::history::scenario::{HostPlacement, PipelineSetup, Scenario};
use mshost_tests::seeded_rng::SeededRng;

/// How often the host is killed in one history.
const TIMES: u64 = 3;

/// How often where it is killed again soon after it has come back.
const MANY_TIMES: u64 = 25;

fn killed(bus_lines: &str) {
    let setup = PipelineSetup { bus_lines: bus_lines.to_owned(), ..PipelineSetup::default() };
    let mut scenario = Scenario::start(&setup, &HostPlacement::single("embedded"));
    for round in 1..=TIMES {
        let due = setup.pipelines * round / (TIMES + 1);
        scenario.until_accepted(due).unwrap_or_else(|verdict| panic!("{verdict}\n{}", scenario.logs()));
        println!("{round}: killed at {}", scenario.history().accepted());
        scenario.restart_host(0);
    }
    let verdict = scenario.finish();
    println!("{verdict}");
    verdict.assert_flawless();
    assert_eq!(verdict.accepted, setup.pipelines);
}

#[test]
fn a_host_with_a_journal_killed() {
    killed("journal = \"state/bus\"");
}

/// What the operating system has it keeps, whenever it writes it to the disk.
#[test]
fn a_host_with_a_lazy_journal_killed() {
    killed("journal = \"state/bus\"\njournal_sync = \"never\"\nabsent = \"wait\"");
}

/// Each time some jobs are between two stages, and whichever stage comes back first has them at once: none of them fails because
/// the next stage is not back yet.
#[test]
fn a_host_killed_again_and_again() {
    let lines = "journal = \"state/bus\"\njournal_sync = \"never\"".to_owned();
    let think = Duration::from_millis(2);
    let setup =
        PipelineSetup { pipelines: 1_000_000, in_flight: 16, think, bus_lines: lines, ..PipelineSetup::default() };
    let mut scenario = Scenario::start(&setup, &HostPlacement::single("embedded"));
    let mut rng = SeededRng::new(1);
    for _ in 0..MANY_TIMES {
        let due = scenario.history().accepted() + rng.within(1..800);
        scenario.until_accepted(due).unwrap_or_else(|verdict| panic!("{verdict}\n{}", scenario.logs()));
        scenario.restart_host(0);
    }
    scenario.stop();
    let verdict = scenario.finish();
    println!("{verdict}");
    verdict.assert_flawless();
    assert_eq!((verdict.executed, verdict.reported, verdict.dead_letters), (verdict.accepted, 0, 0), "{verdict}");
}
