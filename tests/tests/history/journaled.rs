//! The embedded bus with a journal, and a host that is killed in full swing.

use mshost_tests::history::scenario::{Place, Scenario, Setup};

/// How often the host is killed in one history.
const TIMES: u64 = 3;

fn killed(bus_lines: &str) {
    let setup = Setup { bus_lines: bus_lines.to_owned(), ..Setup::default() };
    let mut scenario = Scenario::start(&setup, &Place::single("embedded"));
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
