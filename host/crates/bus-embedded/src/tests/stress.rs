//! Many threads with runtimes of their own, random failures, and a history that must add up.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use mshost_bus::{Event, Notification, SendError, Subscription};
use parking_lot::Mutex;

use super::*;

const SENDERS: u32 = 4;
const CONSUMERS: u32 = 4;
const JOBS_EACH: u32 = 1_500;

/// What is known of one job.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct History {
    accepted: bool,
    /// Retries that were accepted.
    retries: u32,
    /// Whether this attempt has been returned by `next` before.
    seen: bool,
    acked: u32,
    reported: u32,
}

struct Run {
    bus: EmbeddedBus,
    histories: Mutex<HashMap<u32, History>>,
    /// Ids on the bus, now or a moment ago.
    ids: Mutex<Vec<WorkerId>>,
    /// Whether workers fail, retry and leave.
    failures: bool,
    over: AtomicBool,
}

/// A xorshift: scattered, and the same in every run.
struct StressRng(u64);

impl StressRng {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// A thread with a `current_thread` runtime.
fn thread(
    run: &Arc<Run>,
    seed: u32,
    main: impl AsyncFnOnce(&Run, u32, StressRng) + Send + 'static,
) -> std::thread::JoinHandle<()> {
    let run = Arc::clone(run);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dice = StressRng(u64::from(seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        runtime.block_on(main(&run, seed, dice));
    })
}

async fn sender(run: &Run, index: u32, mut dice: StressRng) {
    for number in index * JOBS_EACH..(index + 1) * JOBS_EACH {
        let by_id = dice.roll(3) == 0;
        loop {
            let id = { run.ids.lock().get(dice.roll(4) as usize).cloned() };
            let to = id.filter(|_| by_id).map_or_else(|| "W:*".to_owned(), |id| id.to_string());
            // Before it is sent: it may be done before `send` returns.
            run.histories.lock().entry(number).or_default().accepted = true;
            match run.bus.send(job(&to, number)).await {
                Ok(()) => break,
                // It left a moment ago; nothing was sent.
                Err(SendError::NoWorker(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("job {number} for {to}: {error}"),
            }
        }
    }
}

/// Notes that a delivery has come, and that it looks as it must.
fn receive(run: &Run, delivery: &Delivery) {
    let number = number(&delivery.job);
    let mut histories = run.histories.lock();
    let history = histories.get_mut(&number).unwrap();
    assert_eq!(delivery.job.attempt, history.retries + 1, "attempt of job {number}: {history:?}");
    assert_eq!(delivery.redelivered, history.seen, "flag of job {number}: {history:?}");
    assert_eq!((history.acked, history.reported), (0, 0), "job {number} came after its end");
    history.seen = true;
}

async fn settle(run: &Run, delivery: Delivery, dice: &mut StressRng) {
    let number = number(&delivery.job);
    match if run.failures { dice.roll(8) } else { 7 } {
        0 => drop(delivery),
        1 => delivery.requeue().await.unwrap(),
        2 => {
            // Before the retry: the job may come to another thread before it returns.
            {
                let mut histories = run.histories.lock();
                let history = histories.get_mut(&number).unwrap();
                (history.retries, history.seen) = (history.retries + 1, false);
            }
            delivery.retry(Duration::from_micros(dice.roll(3) * 700)).await.unwrap();
        }
        _ => {
            delivery.ack().await.unwrap();
            run.histories.lock().get_mut(&number).unwrap().acked += 1;
        }
    }
}

async fn consumer(run: &Run, index: u32, mut dice: StressRng) {
    let mut lives = 0;
    while !run.over.load(Ordering::Acquire) {
        lives += 1;
        let worker = worker(&format!("W:1460306476102-{index}-{lives}"));
        let prefetch = 1 + dice.roll(4) as u16;
        let mut place = run.bus.join(&worker, ConsumerOptions::new(prefetch)).await.unwrap();
        run.ids.lock().push(worker.id.clone());
        let mut held = Vec::new();
        while !run.over.load(Ordering::Acquire) {
            // Given up now and then, which must lose nothing, and to see whether all is over.
            if let Ok(delivery) = tokio::time::timeout(Duration::from_millis(1), place.next()).await {
                let delivery = delivery.unwrap();
                receive(run, &delivery);
                held.push(delivery);
            }
            if held.len() == usize::from(prefetch) || (!held.is_empty() && dice.roll(2) == 0) {
                let any = dice.roll(held.len() as u64) as usize;
                settle(run, held.swap_remove(any), &mut dice).await;
            }
            if run.failures && dice.roll(40) == 0 {
                break;
            }
        }
        if !run.failures {
            for delivery in held.drain(..) {
                settle(run, delivery, &mut dice).await;
            }
        }
        run.ids.lock().retain(|id| *id != worker.id);
        // With some in hand: they come again, and can no longer be settled here.
        if dice.roll(2) == 0 {
            place.stop().await;
        }
        drop(place);
        for delivery in held {
            delivery.ack().await.unwrap_err();
        }
    }
}

async fn listener(run: &Run, mut subscription: Box<dyn Subscription>) {
    while let Some(event) = subscription.next().await {
        match event {
            Event::Notification(Notification::Error(failure)) => {
                let number = failure.payload.unwrap().decode().unwrap();
                run.histories.lock().get_mut(&number).unwrap().reported += 1;
            }
            other => panic!("{other:?}"),
        }
    }
}

fn unfinished(run: &Run) -> Vec<(u32, History)> {
    let histories = run.histories.lock();
    let open = histories.iter().filter(|(_, history)| history.acked + history.reported == 0);
    open.map(|(number, history)| (*number, history.clone())).collect()
}

fn stress(failures: bool) {
    let main = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let limits =
        BusLimits { queue: 16, notifications: 1 << 16, send_timeout: LIMIT, deliveries: 1_000, ..BusLimits::default() };
    let bus = main.block_on(async { bus(limits) });
    let run = Arc::new(Run {
        bus,
        histories: Mutex::default(),
        ids: Mutex::default(),
        failures,
        over: AtomicBool::new(false),
    });
    // Before there is anything to hear.
    let subscription = main.block_on(run.bus.subscribe()).unwrap();
    let listening = thread(&run, SENDERS + CONSUMERS, async move |run, _, _| listener(run, subscription).await);
    let consumers: Vec<_> = (0..CONSUMERS).map(|index| thread(&run, index, consumer)).collect();
    let senders: Vec<_> = (0..SENDERS).map(|index| thread(&run, index, sender)).collect();
    for sender in senders {
        sender.join().unwrap();
    }
    let start = Instant::now();
    while !unfinished(&run).is_empty() {
        if start.elapsed() > LIMIT {
            panic!("lost: {:?}, while {:?}", unfinished(&run), main.block_on(run.bus.depths()));
        }
        std::thread::yield_now();
    }
    // The workers must not hand their last jobs back: all are settled.
    let depths = main.block_on(run.bus.depths());
    assert!(depths.iter().all(|depth| (depth.ready, depth.unsettled) == (0, 0)), "{depths:?}");
    run.over.store(true, Ordering::Release);
    for consumer in consumers {
        consumer.join().unwrap();
    }
    assert_eq!(run.bus.core.groups.len(), 0, "neither consumers nor jobs are left");
    main.block_on(run.bus.close());
    listening.join().unwrap();
    let histories = run.histories.lock();
    assert_eq!(histories.len(), (SENDERS * JOBS_EACH) as usize);
    for (number, history) in &*histories {
        assert!(history.accepted && history.acked + history.reported == 1, "job {number}: {history:?}");
    }
    if !failures {
        assert!(histories.values().all(|history| history.acked == 1 && history.retries == 0));
    }
}

#[test]
fn accepted_jobs_are_settled_exactly_once() {
    stress(false);
}

#[test]
fn random_failures_lose_nothing_and_say_so() {
    stress(true);
}
