//! Every order in which a worker that drains or hands over, the one that takes its place, and a sender can meet. Each step holds
//! the group's lock once, so that these orders are all that threads can bring about.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use mshost_bus::SendError;

use super::*;

/// What an actor does next.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    /// The sender's: the next job.
    Send,
    Join,
    /// Looks for a job once; with none it sleeps until it is woken.
    Take,
    /// Settles the job taken first.
    Settle(How),
    Pause,
    Resume,
    LeaveType,
    Stop,
    /// Drops its end, and with it what it has in hand.
    Leave,
}
use Step::{Join, Leave, LeaveType, Pause, Resume, Send, Settle, Stop, Take};

#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    Ack,
    Requeue,
    /// Fails, to be tried again at once.
    Retry,
    /// Is dropped, as by a worker that dies.
    Drop,
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Actor {
    consumer: Option<Box<dyn Consumer>>,
    held: Vec<Delivery>,
    woken: Arc<Woken>,
}

/// One order of the steps, as it goes.
struct Play {
    bus: EmbeddedBus,
    old: Actor,
    new: Actor,
    sent: u32,
    accepted: BTreeMap<u32, Story>,
}

/// What became of a job that was accepted.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Story {
    returned: u32,
    attempt: u32,
    done: u32,
}

fn now<T>(future: impl Future<Output = T>) -> T {
    poll_once(&mut Box::pin(future)).expect("no step waits")
}

impl Play {
    fn new() -> Self {
        let (bus, mut old) = (bus(BusLimits::default()), Actor::default());
        old.consumer = Some(now(join(&bus, W, 2)));
        Self { bus, old, new: Actor::default(), sent: 0, accepted: BTreeMap::new() }
    }

    fn step(&mut self, is_new: bool, step: Step) {
        let Self { bus, old, new, sent, accepted } = self;
        let actor = if is_new { new } else { old };
        let consumer = actor.consumer.as_mut();
        match step {
            Send => {
                *sent += 1;
                match now(bus.send(job("W:*", *sent))) {
                    Ok(()) => drop(accepted.insert(*sent, Story::default())),
                    Err(SendError::NoWorker(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            Join => actor.consumer = Some(now(join(bus, "W:1460306476200", 1))),
            Take => actor.take(accepted),
            Settle(how) if !actor.held.is_empty() => settle(actor.held.remove(0), how, accepted),
            Settle(_) => {}
            Pause => now(consumer.unwrap().pause()),
            Resume => now(consumer.unwrap().resume()),
            LeaveType => now(consumer.unwrap().leave_type()),
            Stop => now(consumer.unwrap().stop()),
            Leave => {
                actor.consumer = None;
                actor.held.clear();
            }
        }
    }

    /// Polls the tasks that are awake, or are woken, until all sleep. A job that is left then has been forgotten.
    fn run_out(mut self) -> BTreeMap<u32, Story> {
        loop {
            for actor in [&mut self.old, &mut self.new] {
                while !actor.held.is_empty() {
                    settle(actor.held.remove(0), How::Ack, &mut self.accepted);
                }
            }
            let awake = [&mut self.old, &mut self.new].into_iter().find(|actor| actor.is_awake());
            let Some(actor) = awake else { return self.accepted };
            actor.take(&mut self.accepted);
        }
    }
}

impl Actor {
    fn is_awake(&self) -> bool {
        self.consumer.is_some() && self.woken.0.load(Ordering::Relaxed)
    }

    fn take(&mut self, accepted: &mut BTreeMap<u32, Story>) {
        let Some(consumer) = &mut self.consumer else { return };
        self.woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&self.woken));
        let Poll::Ready(Some(delivery)) = consumer.next().as_mut().poll(&mut Context::from_waker(&waker)) else {
            return;
        };
        let story = accepted.get_mut(&number(&delivery.job)).expect("it was accepted");
        assert_eq!(story.done, 0, "a job came after its end");
        assert_eq!(delivery.redelivered, story.returned > 0);
        assert_eq!(delivery.job.attempt, story.attempt + 1);
        story.returned += 1;
        self.held.push(delivery);
        // It does not sleep before it has looked in vain.
        self.woken.0.store(true, Ordering::Relaxed);
    }
}

fn settle(delivery: Delivery, how: How, accepted: &mut BTreeMap<u32, Story>) {
    let story = accepted.get_mut(&number(&delivery.job)).unwrap();
    match how {
        How::Ack => {
            story.done += 1;
            now(delivery.ack()).unwrap();
        }
        How::Requeue => now(delivery.requeue()).unwrap(),
        How::Retry => {
            (story.attempt, story.returned) = (story.attempt + 1, 0);
            now(delivery.retry(Duration::ZERO)).unwrap();
        }
        How::Drop => drop(delivery),
    }
}

/// Plays every order of the three scripts, and gives how many there are.
fn every_order(sender: &[Step], old: &[Step], new: &[Step]) -> u32 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let scripts = [sender, old, new];
    let mut orders = 0;
    let mut order = Vec::new();
    play_on(scripts, [0; 3], &mut order, &mut orders);
    orders
}

fn play_on(scripts: [&[Step]; 3], at: [usize; 3], order: &mut Vec<usize>, orders: &mut u32) {
    let mut is_over = true;
    for actor in 0..3 {
        if at[actor] < scripts[actor].len() {
            is_over = false;
            let mut next = at;
            next[actor] += 1;
            order.push(actor);
            play_on(scripts, next, order, orders);
            order.pop();
        }
    }
    if is_over {
        *orders += 1;
        play(scripts, order);
    }
}

fn play(scripts: [&[Step]; 3], order: &[usize]) {
    let (mut play, mut at) = (Play::new(), [0; 3]);
    let mut told = Vec::new();
    for actor in order {
        let step = scripts[*actor][at[*actor]];
        at[*actor] += 1;
        told.push((*actor, step));
        play.step(*actor == 2, step);
    }
    // Both look once more, and sleep from then on.
    play.old.take(&mut play.accepted);
    play.new.take(&mut play.accepted);
    for (number, story) in play.run_out() {
        assert_eq!(story.done, 1, "job {number}: {story:?} after {told:?}");
    }
}

const JOBS: [Step; 3] = [Send, Send, Send];

#[test]
fn a_drain_beside_a_successor_loses_and_doubles_nothing() {
    let mut orders = 0;
    for how in [How::Ack, How::Requeue, How::Retry, How::Drop] {
        let old = [Take, LeaveType, Settle(how), Stop, Leave];
        orders += every_order(&JOBS, &old, &[Join, Take, Settle(How::Ack)]);
    }
    assert_eq!(orders, 4 * 9_240);
}

#[test]
fn a_handover_that_is_called_off_loses_and_doubles_nothing() {
    for how in [How::Ack, How::Requeue, How::Retry, How::Drop] {
        every_order(&JOBS, &[Take, Pause, Settle(how), Resume, Take], &[Join, Take, Leave]);
    }
}

#[test]
fn a_handover_beside_a_successor_loses_and_doubles_nothing() {
    for how in [How::Ack, How::Requeue, How::Retry, How::Drop] {
        every_order(&JOBS, &[Take, Pause, Settle(how), LeaveType, Leave], &[Join, Take, Settle(how)]);
    }
}

#[test]
fn a_worker_that_dies_with_jobs_in_hand_loses_and_doubles_nothing() {
    for how in [How::Requeue, How::Retry, How::Drop] {
        every_order(&JOBS, &[Take, Take, Leave], &[Join, Take, Settle(how), Take]);
    }
}
