//! One kind of fault, several times.

use mshost_tests::history::broker_faults::{BrokerFault, FaultRig};
use mshost_tests::history::scenario::PipelineSetup;

/// How often a fault strikes in one history.
const TIMES: u64 = 3;

fn under(faults: &[BrokerFault]) {
    under_with(&PipelineSetup::default(), faults);
}

fn under_with(setup: &PipelineSetup, faults: &[BrokerFault]) {
    let mut rig = FaultRig::start(setup);
    for (round, fault) in (1..).zip(faults.iter().cycle()).take(TIMES as usize) {
        let due = setup.pipelines * round / (TIMES + 1);
        rig.scenario.until_accepted(due).unwrap_or_else(|verdict| panic!("{verdict}\n{}", rig.scenario.logs()));
        println!("{round}: {fault} at {}", rig.scenario.history().accepted());
        rig.strike(*fault).unwrap_or_else(|error| panic!("{fault}: {error}"));
    }
    let verdict = rig.scenario.finish();
    println!("{verdict}");
    verdict.assert_flawless();
    assert_eq!(verdict.accepted, setup.pipelines);
}

#[test]
fn a_broker_killed_and_restarted() {
    under(&[BrokerFault::BrokerKilled]);
}

/// A job that waits for its next attempt, or is just due for it, must not go with the broker that keeps it.
#[test]
fn a_broker_killed_among_retries() {
    let setup = PipelineSetup { pipelines: 5_000, failures: 300, max_attempts: 40, ..PipelineSetup::default() };
    under_with(&setup, &[BrokerFault::BrokerKilled]);
}

#[test]
fn a_network_that_cuts_connections() {
    under(&[BrokerFault::Cut]);
}

#[test]
fn a_network_that_closes_connections_by_half() {
    under(&[BrokerFault::HalfClosed]);
}

#[test]
fn a_network_that_stalls() {
    under(&[BrokerFault::Stalled, BrokerFault::OneWay]);
}

#[test]
fn a_broker_short_of_memory() {
    under(&[BrokerFault::MemoryAlarm]);
}

#[test]
fn a_host_of_senders_killed() {
    under(&[BrokerFault::SendersKilled]);
}

#[test]
fn a_host_of_takers_killed() {
    under(&[BrokerFault::TakersKilled]);
}

#[test]
fn queues_deleted() {
    under(&[BrokerFault::QueuesDeleted]);
}
