//! Closing the bus while it is used: every call ends, with the reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mshost_bus::{BusError, SendError};

use super::*;

const WORKERS: u32 = 3;
const SENDERS: u32 = 3;

fn thread(main: impl Future<Output = ()> + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::spawn(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(main))
}

async fn work(mut consumer: Box<dyn Consumer>, done: Arc<AtomicU32>) {
    while let Some(delivery) = limited(consumer.next()).await {
        let settled = match done.fetch_add(1, Ordering::Relaxed) % 4 {
            0 => delivery.retry(Duration::ZERO).await,
            1 => delivery.retry(Duration::from_micros(100)).await,
            2 => delivery.requeue().await,
            _ => delivery.ack().await,
        };
        assert!(matches!(settled, Ok(()) | Err(BusError::Closed)), "{settled:?}");
    }
    // Whatever comes after the end does no harm.
    consumer.stop().await;
    assert!(consumer.next().await.is_none());
}

async fn send(bus: Arc<EmbeddedBus>) {
    for number in 0.. {
        match limited(bus.send(job("W:*", number))).await {
            Ok(()) => {}
            Err(SendError::NoWorker(_)) => tokio::task::yield_now().await,
            Err(SendError::Unavailable(reason)) => {
                assert_eq!(reason, "it is closed");
                return;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn closing_ends_workers_senders_and_retries_in_full_swing() {
    for _ in 0..20 {
        let limits = BusLimits { queue: 8, send_timeout: LIMIT, ..BusLimits::default() };
        let bus = Arc::new(bus(limits));
        let done = Arc::new(AtomicU32::new(0));
        let mut threads = Vec::new();
        for index in 0..WORKERS {
            let consumer = join(&bus, &format!("{W}-{index}"), 4).await;
            threads.push(thread(work(consumer, Arc::clone(&done))));
        }
        threads.extend((0..SENDERS).map(|_| thread(send(Arc::clone(&bus)))));
        limited(async {
            while done.load(Ordering::Relaxed) < 500 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        bus.close().await;
        for thread in threads {
            tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap();
        }
        assert_eq!(bus.depths().await, []);
    }
}
