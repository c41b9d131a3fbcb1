//! The movie loop on RabbitMQ, against the same hops made of bare lapin.

use std::time::Duration;

use mshost_tests::baseline::amqp::AmqpLoop;
use mshost_tests::broker::Broker;
use mshost_tests::load::Load;
use mshost_tests::table::Table;

use crate::host::Host;
use crate::{Outcome, PATH, load_rows, summary};

/// REST to pilot, pilot to database, database to REST.
const HOPS: usize = 3;
/// About the size of the movies in MessagePack.
const PAYLOAD: usize = 200;

pub async fn figures(table: &mut Table, each: Duration) -> Outcome {
    let broker = Broker::start();
    let url = broker.url();
    for in_flight in [1, 64] {
        // One after the other: both use the same broker.
        let host = Host::start(&url).await?;
        let ours = Load::new(host.http, PATH, usize::from(in_flight)).run_for(each).await;
        drop(host);
        let bare = AmqpLoop { url: url.clone(), hops: HOPS, in_flight, payload: PAYLOAD }.run_for(each).await?;
        let quantile = |at| bare.micros.value_at_quantile(at) as f64;
        let what = format!("movie loop, RabbitMQ, {in_flight} in flight");
        load_rows(table, &what, summary(&ours), [bare.rate, quantile(0.5), quantile(0.99)]);
    }
    Ok(())
}
