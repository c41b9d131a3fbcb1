//! Turns for what loads the whole machine. Tests run side by side, as most of them wait most of the time; those that do not wait
//! would starve the others, whose waits have limits.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{self, ThreadId};

/// Which threads have a turn, and how often each took it.
static TURNS: Mutex<Option<HashMap<ThreadId, usize>>> = Mutex::new(None);
static FREED: Condvar = Condvar::new();

/// A turn. It ends when this is dropped.
#[derive(Debug)]
pub struct Turn(ThreadId);

/// Waits for a turn; as many threads as there are processors have one. A thread that has one is given it again at once, so what
/// takes a turn may be made of parts that do.
#[must_use]
pub fn turn() -> Turn {
    let limit = thread::available_parallelism().map_or(1, usize::from);
    let own = thread::current().id();
    let turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    let must_wait = |turns: &mut Option<HashMap<ThreadId, usize>>| {
        let turns = turns.get_or_insert_default();
        turns.len() >= limit && !turns.contains_key(&own)
    };
    let mut turns = FREED.wait_while(turns, must_wait).unwrap_or_else(PoisonError::into_inner);
    *turns.get_or_insert_default().entry(own).or_default() += 1;
    Turn(own)
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        let turns = turns.get_or_insert_default();
        if let Some(taken) = turns.get_mut(&self.0) {
            *taken -= 1;
            if *taken == 0 {
                turns.remove(&self.0);
                FREED.notify_all();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn no_more_threads_than_processors_have_a_turn_and_each_may_take_it_twice() {
        let limit = thread::available_parallelism().unwrap().get();
        let (begun, begins) = mpsc::sync_channel(limit + 1);
        let (ends, threads): (Vec<_>, Vec<_>) = (0..=limit)
            .map(|_| {
                let begun = begun.clone();
                let (end, ended) = mpsc::sync_channel::<()>(0);
                let thread = thread::spawn(move || {
                    let _turns = (turn(), turn());
                    begun.send(()).unwrap();
                    // Until the other end is dropped.
                    ended.recv().unwrap_err();
                });
                (end, thread)
            })
            .unzip();
        (0..limit).for_each(|_| begins.recv().unwrap());
        assert!(begins.try_recv().is_err(), "one more than processors has begun");
        drop(ends);
        begins.recv().unwrap();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
