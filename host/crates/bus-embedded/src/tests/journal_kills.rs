//! A host may be killed at any moment. The journal only grows while few pages are in it, so the moments are the lengths that its
//! log had: a copy that is cut off there is what a host killed then leaves behind. Whatever was accepted by then and not
//! settled has to be in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mshost_bus::{Death, DeathReason};
use proptest::prelude::*;
use tempfile::TempDir;

use super::journal::{crash, options};
use super::*;
use crate::EmbeddedOptions;
use crate::journal::{Journal, JournalPurpose};

/// So few that each is reached at times.
const LIMITS: (usize, u32) = (3, 2);

/// What a job is for.
#[derive(Debug, Clone, Copy)]
enum To {
    Type,
    Worker,
    /// The type, and its deadline is over soon.
    TypeInTime,
}

/// Something that happens. The numbers choose among what is there.
#[derive(Debug, Clone)]
enum Step {
    /// So many at once.
    Send(usize, To),
    Take,
    Ack(usize),
    Retry(usize, u64),
    Drop(usize),
    DeadLetter(usize),
    /// The worker leaves all that it holds, and what waits for its id; another joins.
    Leave,
    RequeueAll,
    Purge,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let any = 0..usize::MAX;
    let to = prop_oneof![4 => Just(To::Type), 2 => Just(To::Worker), 1 => Just(To::TypeInTime)];
    let step = prop_oneof![
        6 => (1..6_usize, to).prop_map(|(count, to)| Step::Send(count, to)),
        6 => Just(Step::Take),
        3 => any.clone().prop_map(Step::Ack),
        2 => (any.clone(), prop_oneof![Just(0), Just(3_600_000)]).prop_map(|(which, wait)| Step::Retry(which, wait)),
        2 => any.clone().prop_map(Step::Drop),
        2 => any.prop_map(Step::DeadLetter),
        1 => Just(Step::Leave),
        1 => Just(Step::RequeueAll),
        1 => Just(Step::Purge),
    ];
    prop::collection::vec(step, 1..50)
}

/// When the bus answered for a job: the length of the log when it was accepted, and when it began to be settled.
#[derive(Debug)]
struct Promise {
    accepted: u64,
    settled: Option<u64>,
}

impl Promise {
    /// Whether a host that is killed when the log is so long answers for it.
    fn holds_at(&self, length: u64) -> bool {
        self.accepted <= length && self.settled.is_none_or(|settled| settled >= length)
    }
}

struct Run {
    folder: TempDir,
    bus: EmbeddedBus,
    consumer: Box<dyn Consumer>,
    /// The consumer's id.
    id: String,
    lives: u32,
    held: Vec<Delivery>,
    /// By the numbers of the jobs.
    promises: Vec<Promise>,
}

fn limited_options(folder: &Path) -> EmbeddedOptions {
    let (dead_letters, deliveries) = LIMITS;
    EmbeddedOptions { limits: BusLimits { dead_letters, deliveries, ..BusLimits::default() }, ..options(folder) }
}

fn log_of(folder: &Path) -> PathBuf {
    folder.join("journal.sqlite-wal")
}

impl Run {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bus = EmbeddedBus::open(limited_options(folder.path())).unwrap();
        let consumer = join(&bus, W, 4).await;
        Self { folder, bus, consumer, id: W.to_owned(), lives: 0, held: Vec::new(), promises: Vec::new() }
    }

    fn length(&self) -> u64 {
        fs::metadata(log_of(self.folder.path())).unwrap().len()
    }

    fn take_held(&mut self, which: usize) -> Option<Delivery> {
        let count = self.held.len();
        (count > 0).then(|| self.held.swap_remove(which % count))
    }

    fn settles(&mut self, number: u32) {
        let length = self.length();
        self.promises[number as usize].settled = Some(length);
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Send(count, to) => self.send(count, to).await,
            Step::Take => {
                // There may be none.
                let taken = tokio::time::timeout(Duration::from_millis(20), self.consumer.next()).await;
                self.held.extend(taken.ok().flatten());
            }
            Step::Ack(which) => {
                let Some(held) = self.take_held(which) else { return };
                self.settles(number(&held.job));
                held.ack().await.unwrap();
            }
            Step::Retry(which, wait) => {
                let Some(held) = self.take_held(which) else { return };
                held.retry(Duration::from_millis(wait)).await.unwrap();
            }
            Step::Drop(which) => drop(self.take_held(which)),
            Step::DeadLetter(which) => {
                let Some(held) = self.take_held(which) else { return };
                // An error means that there is no room: it comes again.
                let _ = held.dead_letter(Death::now(DeathReason::Failed, "it failed", None)).await;
            }
            Step::Leave => self.leave().await,
            Step::RequeueAll => {
                let ids: Vec<_> = self.letters().await.iter().map(|number| format!("J{number}")).collect();
                self.bus.dead_letters().requeue(&ids).await.unwrap();
            }
            Step::Purge => {
                for number in self.letters().await {
                    self.settles(number);
                }
                self.bus.dead_letters().purge().await.unwrap();
            }
        }
    }

    async fn send(&mut self, count: usize, to: To) {
        let first = self.promises.len();
        let (route, deadline) = match to {
            To::Type => ("W:*", None),
            To::Worker => (&*self.id, None),
            To::TypeInTime => ("W:*", Some(SystemTime::now() + Duration::from_millis(5))),
        };
        let jobs = (first..first + count).map(|number| Job { deadline, ..job(route, number as u32) });
        let sends = jobs.map(|job| self.bus.send(job));
        for sent in futures::future::join_all(sends).await {
            sent.unwrap();
        }
        let accepted = self.length();
        self.promises.extend((0..count).map(|_| Promise { accepted, settled: None }));
    }

    async fn leave(&mut self) {
        self.held.clear();
        self.lives += 1;
        self.id = format!("{W}-{}", self.lives);
        let next = join(&self.bus, &self.id, 4).await;
        self.consumer = next;
    }

    async fn letters(&self) -> Vec<u32> {
        let letters = self.bus.dead_letters().list(usize::MAX).await.unwrap();
        letters.iter().filter_map(|letter| letter.job.as_ref()).map(number).collect()
    }

    /// What is there after a host was killed when the log was so long, and another has started and ended.
    async fn left_behind(&self, whole: &Path, length: u64) -> BTreeSet<u32> {
        let copy = tempfile::tempdir().unwrap();
        for file in fs::read_dir(whole).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        let log = fs::File::options().write(true).open(log_of(copy.path())).unwrap();
        log.set_len(length).unwrap();
        EmbeddedBus::open(limited_options(copy.path())).unwrap().close().await;
        let config = options(copy.path()).journal.unwrap();
        let (_journal, restored) =
            Journal::open(JournalPurpose::Jobs, &config, Codec::Json, &BusLimits::default(), None).unwrap();
        let jobs = restored.jobs.into_iter().map(|restored| number(&restored.job.unwrap()));
        let dead = restored.dead.into_iter().map(|(_, letter)| number(&letter.job.unwrap()));
        jobs.chain(dead).collect()
    }

    async fn check(&self, kills: &[f64]) {
        let whole = crash(&self.bus).await;
        let end = fs::metadata(log_of(whole.path())).unwrap().len();
        // Every promise is looked at where it begins and ends, and others anywhere.
        let edges = self.promises.iter().flat_map(|promise| [Some(promise.accepted), promise.settled]).flatten();
        let anywhere = kills.iter().map(|part| (end as f64 * part) as u64);
        let lengths: BTreeSet<_> = edges.chain(anywhere).chain([end]).collect();
        for length in lengths {
            let left = self.left_behind(whole.path(), length).await;
            for (number, promise) in (0..).zip(&self.promises) {
                assert!(
                    left.contains(&number) || !promise.holds_at(length),
                    "J{number} is lost at {length} of {end}: {promise:?}, there are {left:?}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn whenever_a_host_is_killed_what_it_answers_for_is_there(
        steps in steps(),
        kills in prop::collection::vec(0.0..1.0, 8),
    ) {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(async {
            let mut run = Run::new().await;
            for step in steps {
                run.step(step).await;
            }
            run.check(&kills).await;
        });
    }
}
