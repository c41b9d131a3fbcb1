//! Nothing breaks but the handlers. At the end, the experiment that has to fail.

use std::time::Duration;

use mshost_tests::broker::Broker;
use mshost_tests::history::scenario::{HostPlacement, PipelineSetup, Scenario};
use mshost_tests::history::{HistoryVerdict, Violation};

fn run(setup: &PipelineSetup, places: &[HostPlacement]) -> HistoryVerdict {
    let verdict = Scenario::start(setup, places).finish();
    println!("{verdict}");
    verdict.assert_flawless();
    assert_eq!(verdict.accepted, setup.pipelines);
    assert_eq!(verdict.resent + verdict.torn, 0, "nobody died: {verdict}");
    verdict
}

#[test]
fn on_two_hosts() {
    let url = Broker::shared().url_of("two");
    let setup = PipelineSetup::default();
    let verdict = run(&setup, &HostPlacement::pair([url.clone(), url]));
    assert_eq!(verdict.executed, setup.pipelines);
    assert!(verdict.duplicates.iter().all(|retries| *retries > 100), "attempts failed: {verdict}");
}

#[test]
fn on_the_embedded_bus() {
    let setup = PipelineSetup::default();
    let verdict = run(&setup, &HostPlacement::single("embedded"));
    assert_eq!(verdict.executed, setup.pipelines);
}

/// Every third attempt fails, and there are two of them: a good part of the jobs fails for good.
fn failures_are_heard_of(places: &[HostPlacement]) -> HistoryVerdict {
    let setup = PipelineSetup { pipelines: 2_000, failures: 333, max_attempts: 2, ..PipelineSetup::default() };
    let verdict = run(&setup, places);
    assert!(verdict.reported > 200 && verdict.executed > 200, "{verdict}");
    assert_eq!(verdict.reported + verdict.executed, setup.pipelines, "{verdict}");
    verdict
}

#[test]
fn failures_for_good_are_heard_of_on_rabbitmq_and_kept() {
    let url = Broker::shared().url_of("failures");
    let verdict = failures_are_heard_of(&HostPlacement::pair([url.clone(), url]));
    assert_eq!(verdict.dead_letters, verdict.reported, "{verdict}");
}

#[test]
fn failures_for_good_are_heard_of_on_the_embedded_bus() {
    failures_are_heard_of(&HostPlacement::single("embedded"));
}

/// A proof that cannot fail is none: here somebody takes jobs away.
#[test]
fn a_queue_that_is_purged_is_found_out() {
    let broker = Broker::shared();
    let url = broker.url_of("purged");
    let setup = PipelineSetup { pipelines: 2_000, patience: Duration::from_secs(10), ..PipelineSetup::default() };
    let mut scenario = Scenario::start(&setup, &HostPlacement::pair([url.clone(), url]));
    scenario.hosts[1].kill();
    scenario.until_accepted(setup.pipelines).unwrap();
    broker.ctl(["purge_queue", "-p", "purged", "mshost.job.HB"]);
    scenario.restart_host(1);
    let verdict = scenario.finish();
    println!("{verdict}");
    assert!(verdict.lost() > 0, "{verdict}");
    let is_expected = |violation: &Violation| {
        // A handler of the killed host may have been in hand, too; its job was in the queue again.
        matches!(violation, Violation::Lost { stage: 2, .. } | Violation::Silent { stage: 2, .. })
    };
    assert!(verdict.violations.iter().all(is_expected), "{verdict}");
}
