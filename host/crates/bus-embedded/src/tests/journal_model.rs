//! Whatever happens on a bus with a journal, what a crash leaves behind is what a simple model says.

use std::collections::BTreeMap;

use mshost_bus::{Death, DeathReason};
use proptest::prelude::*;

use super::journal::{crash, open};
use super::*;

/// Something that happens. The numbers choose among what is there.
#[derive(Debug, Clone)]
enum Step {
    Send,
    Take,
    Ack(usize),
    Retry(usize),
    Drop(usize),
    DeadLetter(usize),
    RequeueAll,
    Purge,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let any = 0..usize::MAX;
    let step = prop_oneof![
        6 => Just(Step::Send),
        6 => Just(Step::Take),
        3 => any.clone().prop_map(Step::Ack),
        2 => any.clone().prop_map(Step::Retry),
        2 => any.clone().prop_map(Step::Drop),
        2 => any.prop_map(Step::DeadLetter),
        1 => Just(Step::RequeueAll),
        1 => Just(Step::Purge),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..60)
}

struct Run {
    bus: EmbeddedBus,
    consumer: Box<dyn Consumer>,
    held: Vec<Delivery>,
    /// Jobs that wait.
    ready: usize,
    sent: u32,
    lives: u32,
    /// The attempt of each job that is not settled.
    jobs: BTreeMap<u32, u32>,
    dead: BTreeMap<u32, u32>,
    folders: Vec<tempfile::TempDir>,
}

impl Run {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bus = open(folder.path());
        let consumer = join(&bus, W, 1000).await;
        let (jobs, dead) = (BTreeMap::new(), BTreeMap::new());
        Self { bus, consumer, held: Vec::new(), ready: 0, sent: 0, lives: 0, jobs, dead, folders: vec![folder] }
    }

    fn held(&mut self, which: usize) -> Option<(u32, Delivery)> {
        let count = self.held.len();
        (count > 0).then(|| self.held.swap_remove(which % count)).map(|held| (number(&held.job), held))
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Send => {
                self.bus.send(job("W:*", self.sent)).await.unwrap();
                self.jobs.insert(self.sent, 1);
                self.ready += 1;
                self.sent += 1;
            }
            Step::Take if self.ready > 0 => {
                self.held.push(next(&mut self.consumer).await);
                self.ready -= 1;
            }
            Step::Take => {}
            Step::Ack(which) => {
                if let Some((number, held)) = self.held(which) {
                    held.ack().await.unwrap();
                    self.jobs.remove(&number);
                }
            }
            Step::Retry(which) => {
                if let Some((number, held)) = self.held(which) {
                    held.retry(Duration::ZERO).await.unwrap();
                    *self.jobs.get_mut(&number).unwrap() += 1;
                    self.ready += 1;
                }
            }
            Step::Drop(which) => {
                if let Some((_, held)) = self.held(which) {
                    drop(held);
                    self.ready += 1;
                }
            }
            Step::DeadLetter(which) => {
                if let Some((number, held)) = self.held(which) {
                    held.dead_letter(Death::now(DeathReason::Failed, "it failed", None)).await.unwrap();
                    self.dead.insert(number, self.jobs.remove(&number).unwrap());
                }
            }
            Step::RequeueAll => {
                let ids: Vec<_> = self.dead.keys().map(|number| format!("J{number}")).collect();
                assert_eq!(self.bus.dead_letters().requeue(&ids).await.unwrap().sent, ids);
                self.ready += ids.len();
                self.jobs.extend(std::mem::take(&mut self.dead).into_keys().map(|number| (number, 1)));
            }
            Step::Purge => {
                assert_eq!(self.bus.dead_letters().purge().await.unwrap(), self.dead.len() as u64);
                self.dead.clear();
            }
            Step::Crash => self.crash().await,
        }
    }

    async fn crash(&mut self) {
        let folder = crash(&self.bus).await;
        self.held.clear();
        self.bus = open(folder.path());
        self.folders.push(folder);
        self.lives += 1;
        self.consumer = join(&self.bus, &format!("{W}-{}", self.lives), 1000).await;
        self.ready = self.jobs.len();
    }

    /// Holds all that is there against the model.
    async fn check(mut self) {
        self.crash().await;
        let letters = self.bus.dead_letters().list(usize::MAX).await.unwrap();
        let dead = letters.iter().filter_map(|letter| letter.job.as_ref()).map(|job| (number(job), job.attempt));
        assert_eq!(dead.collect::<BTreeMap<_, _>>(), self.dead);
        let mut jobs = BTreeMap::new();
        for _ in 0..self.ready {
            let delivery = next(&mut self.consumer).await;
            assert!(delivery.redelivered);
            jobs.insert(number(&delivery.job), delivery.job.attempt);
            delivery.ack().await.unwrap();
        }
        assert_eq!(jobs, self.jobs);
        let folder = crash(&self.bus).await;
        assert_eq!(open(folder.path()).depths().await, []);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_leaves_behind_what_the_model_says(steps in steps()) {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(async {
            let mut run = Run::new().await;
            for step in steps {
                run.step(step).await;
            }
            run.check().await;
        });
    }
}
