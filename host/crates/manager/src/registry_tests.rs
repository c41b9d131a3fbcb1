#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn worker(kind: &str, n: u64) -> WorkerRef {
    WorkerId::new(&format!("{kind}:{:013}", 1_460_306_476_000 + n)).unwrap().into()
}

fn announced(worker: &WorkerRef) -> Announcement {
    Announcement { worker: worker.clone(), host: None }
}

fn address(text: &str) -> Address {
    Address::new(text).unwrap()
}

fn registry(max: usize) -> (Registry, Arc<Metrics>) {
    let metrics = Metrics::new().unwrap();
    (Registry::new(max, Arc::clone(&metrics)), metrics)
}

#[test]
fn a_type_is_gone_only_after_its_last_worker_left() {
    let (registry, metrics) = registry(10);
    let (one, two) = (worker("WB", 1), worker("WB", 2));
    let now = Instant::now();
    assert!(!registry.is_gone(&address("WB:*")), "never heard of is not gone");
    registry.add(announced(&one), now);
    registry.add(announced(&two), now);

    assert!(registry.remove(&one.id));
    assert!(!registry.is_gone(&address("WB:*")));
    assert!(registry.is_gone(&address(&one.id)));
    assert!(!registry.is_gone(&address(&two.id)));
    assert_eq!(metrics.workers.with_label_values(&["WB"]).get(), 1);

    assert!(registry.remove(&two.id));
    assert!(!registry.remove(&two.id), "twice is once");
    assert!(registry.is_gone(&address("WB:*")));
    assert!(registry.is_gone(&address(&worker("WB", 3).id)), "any worker of a type that is gone");
    assert_eq!(metrics.workers.with_label_values(&["WB"]).get(), 0, "the original leaves the old count standing");
    assert_eq!(metrics.connected_workers.get(), 0);

    registry.add(announced(&one), now);
    assert!(!registry.is_gone(&address("WB:*")));
    assert!(!registry.is_gone(&address(&one.id)));
    assert!(registry.is_gone(&address(&two.id)));
}

#[test]
fn whoever_was_not_heard_since_the_deadline_expires() {
    let (registry, _) = registry(10);
    let (old, young) = (worker("WB", 1), worker("WB", 2));
    let start = Instant::now();
    registry.add(announced(&old), start);
    registry.add(announced(&young), start);
    registry.add(announced(&young), start + Duration::from_secs(1));
    let expired = registry.expire(start + Duration::from_secs(1));
    assert_eq!(expired.iter().map(|known| &known.worker).collect::<Vec<_>>(), [&old]);
    assert_eq!(registry.list().len(), 1);
}

#[test]
fn a_full_registry_refuses_newcomers_and_goes_on_hearing_the_others() {
    let (registry, metrics) = registry(2);
    let now = Instant::now();
    for n in 0..2 {
        assert_eq!(registry.add(announced(&worker("WB", n)), now), Announced::New);
    }
    assert_eq!(registry.add(announced(&worker("WC", 0)), now), Announced::Refused);
    assert_eq!(registry.add(announced(&worker("WB", 0)), now), Announced::Again);
    assert_eq!(registry.len(), 2);
    assert_eq!(metrics.workers_refused.get(), 1);
}

#[test]
fn a_flood_of_types_leaves_bounded_memory_and_bounded_metrics() {
    let (registry, metrics) = registry(16);
    for n in 0..1_000 {
        let one = worker(&format!("T{n}"), n);
        registry.add(announced(&one), Instant::now());
        registry.remove(&one.id);
    }
    let lines =
        metrics.render().unwrap().lines().filter(|line| line.starts_with("microservices_workers_total{")).count();
    assert!(lines <= 16, "{lines} types in /metrics");
    assert!(registry.inner.read().departed.len() <= 16);
}

#[derive(Debug, Clone)]
enum Step {
    Add(u64, u64),
    Remove(u64, u64),
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u64, 0..4_u64).prop_map(|(kind, n)| Step::Add(kind, n)),
        3 => (0..3_u64, 0..4_u64).prop_map(|(kind, n)| Step::Remove(kind, n)),
        1 => Just(Step::Expire),
    ]
}

proptest! {
    /// Against a plain map from worker to the step at which it was last heard.
    #[test]
    fn the_registry_agrees_with_a_plain_model(steps in proptest::collection::vec(step(), 0..60)) {
        let (registry, metrics) = registry(100);
        let start = Instant::now();
        let mut model = BTreeMap::new();
        let mut ever = std::collections::BTreeSet::new();
        for (at, step) in steps.iter().enumerate() {
            let now = start + Duration::from_secs(at as u64);
            match *step {
                Step::Add(kind, n) => {
                    registry.add(announced(&worker(&format!("T{kind}"), n)), now);
                    model.insert((kind, n), now);
                    ever.insert(kind);
                }
                Step::Remove(kind, n) => {
                    let known = registry.remove(&worker(&format!("T{kind}"), n).id);
                    prop_assert_eq!(known, model.remove(&(kind, n)).is_some());
                }
                Step::Expire => {
                    let deadline = now.checked_sub(Duration::from_secs(3)).unwrap_or(now);
                    let before = model.len();
                    model.retain(|_, heard| *heard >= deadline);
                    prop_assert_eq!(registry.expire(deadline).len(), before - model.len());
                }
            }
            prop_assert_eq!(registry.len(), model.len());
            prop_assert_eq!(metrics.connected_workers.get(), model.len() as i64);
            for kind in 0..3 {
                let alive = model.keys().filter(|(k, _)| *k == kind).count();
                let name = format!("T{kind}");
                prop_assert_eq!(registry.count_of(&WorkerType::new(&name).unwrap()), alive);
                prop_assert_eq!(metrics.workers.with_label_values(&[&name]).get(), alive as i64);
                let gone = registry.is_gone(&address(&format!("{name}:*")));
                prop_assert_eq!(gone, ever.contains(&kind) && alive == 0);
            }
        }
    }
}

#[test]
fn it_knows_which_kind_serves_a_type_and_tells_of_each_change() {
    let (registry, _) = registry(10);
    let (theirs, ours) = (worker("WB", 1), worker("WB", 2));
    let now = Instant::now();
    let mut changes = registry.changes();
    let kind = &theirs.worker_type;
    let native = |worker: &WorkerRef| Announcement { worker: worker.clone(), host: Some("h1".to_owned()) };
    let mut check = |registry: &Registry, original, native, is_news| {
        let served = registry.counts_of(kind);
        assert_eq!(served, WorkerCounts { mshost: native, msjs: original });
        assert_eq!(served.is_mixed(), native > 0 && original > 0);
        assert_eq!(changes.has_changed().unwrap(), is_news);
        changes.mark_unchanged();
    };
    check(&registry, 0, 0, false);
    registry.add(announced(&theirs), now);
    check(&registry, 1, 0, true);
    registry.add(announced(&theirs), now);
    check(&registry, 1, 0, false);
    registry.add(native(&ours), now);
    check(&registry, 1, 1, true);
    assert_eq!(registry.msjs_workers(), std::slice::from_ref(&theirs));
    // The same id announced by another kind.
    registry.add(native(&theirs), now);
    check(&registry, 0, 2, true);
    registry.add(announced(&theirs), now);
    check(&registry, 1, 1, true);
    registry.remove(&theirs.id);
    check(&registry, 0, 1, true);
    registry.remove(&ours.id);
    check(&registry, 0, 0, true);
}
