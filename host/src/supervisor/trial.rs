//! How a new version of a plugin proves itself ([`CanaryConfig`]).
//!
//! Each slot of the plugin starts a worker of the new version beside the old one, which takes its share of the slot's jobs
//! (see `worker::pace`). The attempts of all slots are added up by worker type, both versions over the same time, so
//! that what makes jobs fail for both decides nothing. There is one verdict for the whole version: as soon as one type is
//! worse it is given up everywhere, and where none is in the end it is accepted everywhere.
//!
//! Workers that keep state do not take part, since half of the state would be with each of two: they wait for the verdict.
//! With jobs by type alone the share is what it says. A worker that brings its work in itself, such as an HTTP edge, gets what
//! its socket gives it, which is about half.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use mshost_core::ids::{GenerationId, WorkerType};
use mshost_topology::CanaryConfig;
use mshost_worker::Progress;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// How often the numbers are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// After how long a version is accepted where nothing runs that it could be compared with; longer, if trials are.
const NOBODY: Duration = Duration::from_secs(60);

/// What has been decided of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is as good as the one before, as far as could be seen; with the numbers.
    Accepted(String),
    /// Why it is given up.
    GivenUp(String),
}

/// A version on trial. Undecided for ever where it is dropped first.
#[derive(Debug)]
pub(super) struct Trial {
    rules: CanaryConfig,
    generation: GenerationId,
    made: Instant,
    pairs: Mutex<Pairs>,
    decision: watch::Sender<Option<Decision>>,
}

/// Everybody who takes part, and since when there is somebody.
#[derive(Debug, Default)]
struct Pairs {
    all: Vec<Pair>,
    began: Option<Instant>,
}

/// The two workers of a slot.
#[derive(Debug)]
struct Pair {
    kind: WorkerType,
    new: Count,
    old: Count,
}

/// What a worker has done since it takes part.
#[derive(Debug)]
struct Count {
    progress: Arc<Progress>,
    before: Attempts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Attempts {
    all: u64,
    failed: u64,
}

impl Trial {
    /// Begins the trial of a version. It is decided on `tasks`; `decided` is called then.
    pub(super) fn begin(
        rules: CanaryConfig,
        generation: GenerationId,
        tasks: &TaskTracker,
        decided: impl FnOnce() + Send + 'static,
    ) -> Arc<Self> {
        let (made, pairs, decision) = (Instant::now(), Mutex::default(), watch::Sender::new(None));
        let trial = Arc::new(Self { rules, generation, made, pairs, decision });
        tasks.spawn(look_on(Arc::downgrade(&trial), decided));
        trial
    }

    pub(super) fn generation(&self) -> GenerationId {
        self.generation
    }

    pub(super) fn share(&self) -> f64 {
        self.rules.share
    }

    /// Two workers of one slot take part from now on.
    pub(super) fn enter(&self, kind: &WorkerType, new: Arc<Progress>, old: Arc<Progress>) {
        let pair = Pair { kind: kind.clone(), new: Count::begin(new), old: Count::begin(old) };
        let mut pairs = self.pairs.lock();
        pairs.began.get_or_insert_with(Instant::now);
        pairs.all.push(pair);
    }

    /// The version could not start, or a worker of it died.
    pub(super) fn fail(&self, why: &str) {
        self.decide(Decision::GivenUp(why.to_owned()));
    }

    /// What has been decided so far.
    pub(super) fn decision(&self) -> Option<Decision> {
        self.decision.borrow().clone()
    }

    /// Waits for the decision. Cancel safe.
    pub(super) async fn decided(&self) -> Decision {
        let mut decision = self.decision.subscribe();
        // The sender lives as long as this does.
        let decided = decision.wait_for(Option::is_some).await;
        match decided.ok().and_then(|decided| decided.clone()) {
            Some(decision) => decision,
            None => std::future::pending().await,
        }
    }

    /// The first decision stands.
    fn decide(&self, decision: Decision) {
        self.decision.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                *known = Some(decision);
            }
            first
        });
    }

    fn look(&self) {
        let mut types: BTreeMap<WorkerType, [Attempts; 2]> = BTreeMap::new();
        let pairs = self.pairs.lock();
        for pair in &pairs.all {
            let [new, old] = types.entry(pair.kind.clone()).or_default();
            new.add(pair.new.since());
            old.add(pair.old.since());
        }
        let is_over = match pairs.began {
            Some(began) => began.elapsed() >= self.rules.span,
            None => self.made.elapsed() >= self.rules.span.max(NOBODY),
        };
        drop(pairs);
        if let Some(decision) = judge(&self.rules, &types, is_over) {
            self.decide(decision);
        }
    }
}

async fn look_on(trial: Weak<Trial>, decided: impl FnOnce()) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(trial) = trial.upgrade() else { return };
        trial.look();
        if trial.decision().is_some() {
            return decided();
        }
    }
}

/// The verdict on these numbers, the new version's first; `None` where it is too early.
fn judge(rules: &CanaryConfig, types: &BTreeMap<WorkerType, [Attempts; 2]>, is_over: bool) -> Option<Decision> {
    let worse =
        types.iter().find(|(_, [new, old])| new.all >= rules.min_jobs && new.rate() > old.rate() + rules.tolerance);
    if let Some((kind, [new, old])) = worse {
        let why = format!("of {kind}, {new} attempts failed, and of the version before {old}");
        return Some(Decision::GivenUp(why));
    }
    let numbers = || types.iter().map(|(kind, [new, old])| format!("{kind}: {new} attempts failed, before {old}"));
    is_over.then(|| Decision::Accepted(numbers().collect::<Vec<_>>().join("; ")))
}

impl Count {
    fn begin(progress: Arc<Progress>) -> Self {
        Self { before: Attempts::of(&progress), progress }
    }

    fn since(&self) -> Attempts {
        let now = Attempts::of(&self.progress);
        Attempts { all: now.all - self.before.all, failed: now.failed - self.before.failed }
    }
}

impl Attempts {
    fn of(progress: &Progress) -> Self {
        let failed = progress.failed();
        Self { all: progress.done() + failed, failed }
    }

    fn add(&mut self, other: Self) {
        self.all += other.all;
        self.failed += other.failed;
    }

    fn rate(self) -> f64 {
        // Far below 2^53.
        if self.all == 0 { 0.0 } else { self.failed as f64 / self.all as f64 }
    }
}

impl std::fmt::Display for Attempts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.failed, self.all)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn numbers(new: (u64, u64), old: (u64, u64)) -> BTreeMap<WorkerType, [Attempts; 2]> {
        let attempts = |(failed, all)| Attempts { all, failed };
        BTreeMap::from([(WorkerType::new("WB").unwrap(), [attempts(new), attempts(old)])])
    }

    #[test]
    fn a_version_is_given_up_as_soon_as_it_is_worse_by_more_than_the_tolerance() {
        let rules = CanaryConfig::default();
        for (new, old, is_worse) in [
            ((0, 1_000), (0, 9_000), false),
            ((1, 20), (0, 180), false),
            ((2, 20), (0, 180), true),
            // Too few to say.
            ((19, 19), (0, 180), false),
            // Both fail.
            ((10, 20), (90, 180), false),
            ((20, 20), (90, 180), true),
            // Nobody else had jobs.
            ((20, 20), (0, 0), true),
        ] {
            for is_over in [false, true] {
                let decision = judge(&rules, &numbers(new, old), is_over);
                let given_up = matches!(decision, Some(Decision::GivenUp(_)));
                assert_eq!((given_up, decision.is_some()), (is_worse, is_worse || is_over), "{new:?} {old:?}");
            }
        }
    }

    #[test]
    fn one_bad_type_is_enough() {
        let mut types = numbers((0, 100), (0, 100));
        types.insert(WorkerType::new("WC").unwrap(), [Attempts { all: 30, failed: 30 }, Attempts::default()]);
        let decision = judge(&CanaryConfig::default(), &types, false);
        let why = "of WC, 30 of 30 attempts failed, and of the version before 0 of 0";
        assert_eq!(decision, Some(Decision::GivenUp(why.to_owned())));
    }

    #[tokio::test]
    async fn the_first_decision_stands() {
        let tasks = TaskTracker::new();
        let trial = Trial::begin(CanaryConfig::default(), GenerationId(2), &tasks, || {});
        assert_eq!(trial.decision(), None);
        trial.fail("it died");
        trial.decide(Decision::Accepted(String::new()));
        assert_eq!(trial.decided().await, Decision::GivenUp("it died".to_owned()));
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn nobody_waits_for_a_trial_that_is_dropped() {
        let tasks = TaskTracker::new();
        drop(Trial::begin(CanaryConfig::default(), GenerationId(2), &tasks, || {}));
        tasks.close();
        tasks.wait().await;
    }
}
