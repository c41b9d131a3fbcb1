//! Wakers and the drops of payloads are foreign code, which may use the bus itself: none of it may run under a lock.

use std::sync::mpsc;
use std::sync::{Arc, Weak};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::embedded_core::EmbeddedCore;

/// Looks at the group whenever it is woken or dropped; under the group's lock that would never end.
struct Nosy(Weak<EmbeddedCore>);

impl Nosy {
    fn look(&self) {
        if let Some(group) = self.0.upgrade().and_then(|core| core.group("W")) {
            group.depths();
        }
    }
}

impl Drop for Nosy {
    fn drop(&mut self) {
        self.look();
    }
}

impl Wake for Nosy {
    fn wake(self: Arc<Self>) {
        self.look();
    }
}

impl AsRef<[u8]> for Nosy {
    fn as_ref(&self) -> &[u8] {
        b"7"
    }
}

/// Runs `test` on a thread of its own, because a deadlock would not even time out.
fn ends(test: impl AsyncFnOnce(EmbeddedBus) + Send + 'static) {
    let (done, ended) = mpsc::sync_channel(1);
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let limits = BusLimits { queue: 1, send_timeout: Duration::from_millis(5), ..BusLimits::default() };
            test(bus(limits)).await;
        });
        done.send(()).unwrap();
    });
    match ended.recv_timeout(LIMIT) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it waits for a lock that it holds itself"),
        _ => thread.join().unwrap(),
    }
}

fn nosy_job(bus: &EmbeddedBus, to: &str) -> Job {
    let nosy = Bytes::from_owner(Nosy(Arc::downgrade(&bus.core)));
    Job { payload: Payload::from_bytes(Codec::Json, nosy), ..job(to, 0) }
}

#[test]
fn payloads_are_dropped_after_the_lock() {
    ends(async |bus| {
        let mut consumer = join(&bus, W, 1).await;
        bus.send(nosy_job(&bus, "W:1460306476109")).await.unwrap_err();
        for to in ["W:*", W] {
            bus.send(nosy_job(&bus, to)).await.unwrap();
            next(&mut consumer).await.retry(Duration::ZERO).await.unwrap();
            next(&mut consumer).await.requeue().await.unwrap();
            next(&mut consumer).await.retry(Duration::from_millis(1)).await.unwrap();
            next(&mut consumer).await.ack().await.unwrap();
            // One in hand, one in the queue, one that waits in vain.
            bus.send(nosy_job(&bus, to)).await.unwrap();
            bus.send(nosy_job(&bus, to)).await.unwrap();
            bus.send(nosy_job(&bus, to)).await.unwrap_err();
            next(&mut consumer).await.ack().await.unwrap();
            next(&mut consumer).await.ack().await.unwrap();
        }
        bus.send(nosy_job(&bus, W)).await.unwrap();
        drop(consumer);
        bus.send(nosy_job(&bus, "W:*")).await.unwrap_err();
        let _consumer = join(&bus, W, 1).await;
        bus.send(nosy_job(&bus, W)).await.unwrap();
        bus.send(nosy_job(&bus, W)).await.unwrap();
        bus.close().await;
        bus.send(nosy_job(&bus, "W:*")).await.unwrap_err();
    });
}

#[test]
fn wakers_are_woken_and_dropped_after_the_lock() {
    ends(async |bus| {
        let poll = |future: &mut (dyn Future<Output = ()> + Unpin)| {
            let waker = Waker::from(Arc::new(Nosy(Arc::downgrade(&bus.core))));
            let _ = std::pin::Pin::new(future).poll(&mut Context::from_waker(&waker));
        };
        let mut consumer = join(&bus, W, 1).await;
        {
            let mut next = Box::pin(async { drop(consumer.next().await) });
            // The second waker takes the first one's place; the job wakes it.
            poll(&mut next);
            poll(&mut next);
            bus.send(job("W:*", 0)).await.unwrap();
        }
        // A sender in senders: it gives up, is served, is refused.
        bus.send(job("W:*", 1)).await.unwrap();
        for outcome in 0..3 {
            let mut send = Box::pin(async { drop(bus.send(job("W:*", 2)).await) });
            poll(&mut send);
            match outcome {
                0 => drop(send),
                1 => next(&mut consumer).await.ack().await.unwrap(),
                _ => consumer.stop().await,
            }
        }
        let mut idle = join(&bus, "W:1460306476109", 1).await;
        for left_over in [1, 2] {
            assert_eq!(next_number(&mut idle).await, left_over);
        }
        poll(&mut Box::pin(async { drop(idle.next().await) }));
        drop(idle);
        let mut idle = join(&bus, "W:1460306476109", 1).await;
        poll(&mut Box::pin(async { drop(idle.next().await) }));
        bus.close().await;
    });
}
