//! A broker that takes a question and never answers, while its heartbeats come: as one does whose quorum queue has no leader.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mshost_bus::{Bus, BusError, BusLimits};
use mshost_tests::broker::Broker;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::support::{connected, eventually, job, join, kind, limited, patient};

/// How a frame with `basic.consume-ok` begins, after its channel and size: class 60, method 21.
const CONSUME_OK: [u8; 4] = [0, 60, 0, 21];
const METHOD: u8 = 1;

/// Passes everything on; once it is armed, all but the next answer to `basic.consume`.
async fn swallowing(broker: SocketAddr, armed: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (mut client, to_client) = client.into_split();
            let (server, mut to_server) = TcpStream::connect(broker).await.unwrap().into_split();
            tokio::spawn(async move { tokio::io::copy(&mut client, &mut to_server).await });
            tokio::spawn(pass_frames(server, to_client, Arc::clone(&armed)));
        }
    });
    addr
}

async fn pass_frames(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, armed: Arc<AtomicBool>) -> std::io::Result<()> {
    loop {
        // The kind, the channel and the size of what follows; that ends with one byte more.
        let mut head = [0; 7];
        from.read_exact(&mut head).await?;
        let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        let mut body = vec![0; size as usize + 1];
        from.read_exact(&mut body).await?;
        let is_answer = head[0] == METHOD && body.starts_with(&CONSUME_OK);
        if !(is_answer && armed.swap(false, Ordering::Relaxed)) {
            to.write_all(&[&head[..], &body].concat()).await?;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_does_not_answer_is_given_up_with_what_it_has_delivered() {
    let armed = Arc::new(AtomicBool::new(false));
    let addr = swallowing(Broker::shared().addr(), Arc::clone(&armed)).await;
    let limits = BusLimits { answer_timeout: Duration::from_secs(3), ..patient() };
    let host = connected(&format!("amqp://guest:guest@{addr}"), limits).await;
    let (holding, mut consumer) = join(&host.bus, &kind(), 1).await;
    host.bus.send(job(&holding.worker_type, 7)).await.unwrap();
    let held = limited("the job", consumer.next()).await.unwrap();

    armed.store(true, Ordering::Relaxed);
    let began = Instant::now();
    let (late, mut late_consumer) = join(&host.bus, &kind(), 1).await;
    assert!(!armed.load(Ordering::Relaxed), "an answer was swallowed");
    assert!(began.elapsed() < BusLimits::default().answer_timeout, "it goes by the limit that was set");
    // Its place is on another connection.
    eventually("the reconnect", async || host.metrics.bus_reconnects.get() > 0).await;
    host.bus.send(job(&late.id, 8)).await.unwrap();
    limited("a job for it", late_consumer.next()).await.unwrap().ack().await.unwrap();
    let settled = held.ack().await;
    assert!(matches!(settled, Err(BusError::Unavailable(_))), "{settled:?}");
    let again = limited("the job again", consumer.next()).await.unwrap();
    assert!(again.redelivered && again.job.payload.decode::<u32>().unwrap() == 7);
    again.ack().await.unwrap();
}
