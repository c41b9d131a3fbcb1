//! Jobs whose retry was due when nobody could take them any more: their senders are told.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use lapin::message::Delivery as Message;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tracing::debug;

use super::connection::{Link, next_link};
use super::{Shared, errors, message, names};

/// How many are reported at once.
const PREFETCH: u16 = 16;
/// Wait before another try, where consuming or reporting fails.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// Reports stranded jobs until the bus is closed. All hosts on a broker do, and share them.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut links = shared.link.subscribe();
    let mut epoch = 0;
    while let Some(link) = next_link(&mut links, &shared, epoch).await {
        epoch = link.epoch;
        while link.is_up() {
            let reported = tokio::select! {
                () = shared.closed.cancelled() => return,
                reported = link.down.or(report(&shared, &link)) => reported,
            };
            if let Err(error) = reported {
                debug!(target: "mshost::bus", "stranded jobs wait: {}", errors::text(&error));
            }
            tokio::select! {
                () = shared.closed.cancelled() => return,
                () = tokio::time::sleep(RETRY_WAIT) => {}
            }
        }
    }
}

async fn report(shared: &Shared, link: &Link) -> lapin::Result<()> {
    let channel = link.consume.create_channel().await?;
    names::declare_exchanges(&channel).await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let mut stream = channel
        .basic_consume(names::STRANDED.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default())
        .await?;
    while let Some(message) = stream.next().await {
        let Message { properties, data, acker, .. } = message?;
        match message::decode(shared.codec, &properties, &Bytes::from(data)) {
            Ok((job, _)) => {
                if shared.report_no_worker(job).await.is_err() {
                    acker.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await?;
                    return Ok(());
                }
            }
            Err(malformed) => shared.malformed.report("job", malformed.kind, &malformed.reason),
        }
        acker.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}
