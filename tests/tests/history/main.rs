//! 20,000 pipelines under each fault alone: whatever was accepted is accounted for, and nothing else was done.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use mshost_tests::broker::Broker;
use mshost_tests::history::scenario::{Place, Scenario, Setup};

#[test]
fn without_a_fault() {
    let url = Broker::shared().url_of("none");
    let setup = Setup { pipelines: std::env::var("N").map_or(20000, |n| n.parse().unwrap()), ..Setup::default() };
    let began = std::time::Instant::now();
    let scenario = Scenario::start(&setup, &Place::pair([url.clone(), url]));
    println!("started {:?}", began.elapsed());
    let verdict = scenario.finish();
    println!("{:?} {verdict}", began.elapsed());
    verdict.assert_flawless();
    assert_eq!(verdict.accepted, setup.pipelines);
}
