//! Two hops of the embedded bus, there and back, against the same over tokio's channels.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mshost::bus::embedded::EmbeddedBus;
use mshost::bus::{Bus, BusLimits, Codec, Consumer, ConsumerOptions, Job, Payload, Route};
use mshost::ids::{JobId, WorkerId, WorkerRef};
use mshost_tests::baseline::channel;
use mshost_tests::table::Table;

use crate::Outcome;

const ROUND_TRIPS: u32 = 300_000;
const PAYLOAD: [u8; 200] = [b'x'; 200];

pub async fn figures(table: &mut Table) -> Outcome {
    let payload = Bytes::from_static(&PAYLOAD);
    for in_flight in [1, 64] {
        let ours = tokio::spawn(round_trip(in_flight, payload.clone())).await?.map_err(|error| error.to_string())?;
        let baseline = channel::round_trip(ROUND_TRIPS, in_flight, payload.clone()).await;
        let nanos = |time: Duration| Some(time.as_nanos() as f64);
        table.row(format!("embedded bus, there and back, {in_flight} in flight"), nanos(ours), nanos(baseline), "ns");
    }
    Ok(())
}

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The mean time of a job there and a job back, each sent, taken and acknowledged.
async fn round_trip(in_flight: u32, payload: Bytes) -> Fallible<Duration> {
    let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::new(BusLimits::default(), Codec::MsgPack));
    let asker = Player::join(&bus, "WA:1460306476101").await?;
    let mut peer = Player::join(&bus, "WB:1460306476102").await?;
    let (there, back) = (Route::parse(["WB:*"])?, Route::parse([&*asker.worker.id])?);
    let peer_task = tokio::spawn(async move {
        while peer.answer(&back).await? {}
        Fallible::Ok(())
    });
    let started = Instant::now();
    let asking = tokio::spawn(ask(asker, there, in_flight, Payload::from_bytes(Codec::MsgPack, payload)));
    asking.await??;
    let elapsed = started.elapsed();
    bus.close().await;
    peer_task.await??;
    Ok(elapsed / ROUND_TRIPS)
}

async fn ask(mut asker: Player, there: Route, in_flight: u32, payload: Payload) -> Fallible<()> {
    let id = JobId::new("J")?;
    let job = Job {
        id: id.clone(),
        correlation: id,
        route: there.clone(),
        sender: asker.worker.clone(),
        origin: asker.worker.clone(),
        attempt: 1,
        payload,
    };
    for _ in 0..in_flight {
        send(&*asker.bus, job.clone()).await?;
    }
    for _ in in_flight..ROUND_TRIPS {
        asker.answer(&there).await?;
    }
    for _ in 0..in_flight {
        if let Some(delivery) = asker.consumer.next().await {
            delivery.ack().await?;
        }
    }
    Ok(())
}

/// One end.
struct Player {
    bus: Arc<dyn Bus>,
    worker: WorkerRef,
    consumer: Box<dyn Consumer>,
}

impl Player {
    async fn join(bus: &Arc<dyn Bus>, id: &str) -> Fallible<Self> {
        let worker = WorkerRef::from(WorkerId::new(id)?);
        let consumer = bus.join(&worker, ConsumerOptions { prefetch: 64 }).await?;
        Ok(Self { bus: Arc::clone(bus), worker, consumer })
    }

    /// Takes one job and sends it on; `false` once the bus is closed.
    async fn answer(&mut self, route: &Route) -> Fallible<bool> {
        let Some(delivery) = self.consumer.next().await else { return Ok(false) };
        let job = Job { route: route.clone(), sender: self.worker.clone(), ..delivery.job.clone() };
        send(&*self.bus, job).await?;
        delivery.ack().await?;
        Ok(true)
    }
}

/// As the host does it: at once where that is possible.
async fn send(bus: &dyn Bus, job: Job) -> Fallible<()> {
    match bus.try_send(job) {
        Ok(sent) => sent?,
        Err(job) => bus.send(*job).await?,
    }
    Ok(())
}
