//! The movie loop on RabbitMQ, against the same hops made of bare lapin.

use std::time::Duration;

use mshost_tests::baseline::amqp::Chain;
use mshost_tests::bench_table::Table;
use mshost_tests::broker::Broker;
use mshost_tests::embedded_hop::PAYLOAD;
use mshost_tests::load::HttpLoad;

use crate::host::BenchHost;
use crate::turns::compare;
use crate::{BenchResult, PATH, summary};

/// REST to pilot, pilot to database, database to REST.
const HOPS: usize = 3;

pub async fn figures(table: &mut Table, each: Duration) -> BenchResult {
    let broker = Broker::start();
    let url = broker.url();
    let host = BenchHost::start(&url).await?;
    for in_flight in [1, 64, 512] {
        let bare = Chain { url: url.clone(), hops: HOPS, in_flight, payload: PAYLOAD, durable: true }.open().await?;
        let what = format!("movie loop, RabbitMQ, {in_flight} in flight");
        let ours = async |turn| Ok(summary(&HttpLoad::new(host.http, PATH, in_flight.into()).run_for(turn).await));
        compare(table, &what, "requests/s", each, ours, async |turn| Ok(bare.run_for(turn).await?.figures())).await?;
        bare.close().await?;
    }
    Ok(())
}
