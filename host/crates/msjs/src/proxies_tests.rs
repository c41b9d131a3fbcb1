#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use mshost_bus::{Announcement, BusLimits, Codec, HostBus};
use mshost_bus_embedded::EmbeddedBus;
use mshost_core::ids::{WorkerId, WorkerRef};
use mshost_core::metrics::Metrics;
use mshost_manager::Registry;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::counters::MsjsCounters;
use super::pending_acks::PendingAcks;
use super::proxies::{MsjsProxies, ReportedProblems};

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn worker(number: usize) -> WorkerRef {
    WorkerId::new(&format!("PB:{:013}", 1_460_306_476_000 + number)).unwrap().into()
}

const MAX: usize = 30;

#[tokio::test]
async fn workers_beyond_the_limit_have_no_proxies_and_take_none_away() {
    let metrics = Metrics::new().unwrap();
    let registry = Registry::new(10_000, Arc::clone(&metrics));
    let bus: Arc<dyn HostBus> = Arc::new(EmbeddedBus::new(BusLimits::default(), Codec::Json));
    let (counters, acks) = (MsjsCounters::new(Arc::clone(&metrics)), PendingAcks::default());
    let proxies_of = MsjsProxies::new(&bus, &registry, &counters, &acks, MAX);
    let add = |numbers: std::ops::Range<usize>| {
        for number in numbers {
            registry.add(Announcement { worker: worker(number), host: None }, Instant::now());
        }
    };
    let (log, mut told) = (Log::default(), ReportedProblems::default());
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);

    add(0..MAX);
    let proxies = proxies_of.wanted(&HashMap::<_, ()>::new(), &mut told);
    assert_eq!((proxies.len(), metrics.interop_without_proxy.get(), log.text()), (MAX, 0, String::new()));

    add(MAX..4 * MAX);
    assert_eq!(proxies_of.wanted(&proxies, &mut told), proxies, "those that have one keep it");
    assert_eq!(metrics.interop_without_proxy.get(), 3 * MAX as i64);
    proxies_of.wanted(&proxies, &mut told);
    let said = log.text();
    assert!(said.contains("ERROR") && said.contains("90 workers more than the 30"), "{said}");
    assert_eq!(said.lines().count(), 1, "it is said once: {said}");

    // Who leaves makes room.
    registry.remove(&worker(7).id);
    let after = proxies_of.wanted(&proxies, &mut told);
    assert_eq!((after.len(), proxies.keys().filter(|id| after.contains_key(*id)).count()), (MAX, MAX - 1));
    counters.idle();
    assert_eq!(metrics.interop_without_proxy.get(), 0);
}
