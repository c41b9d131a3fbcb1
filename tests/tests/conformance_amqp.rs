//! The bus over RabbitMQ does what every bus must do.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use mshost::bus::amqp::{AmqpBus, AmqpOptions};
use mshost::bus::{Bus, BusLimits, BusState, Codec};
use mshost::metrics::Metrics;
use mshost::topology::BusTls;
use mshost_tests::broker::Broker;
use mshost_tests::conformance::Engine;

struct Amqp;

impl Engine for Amqp {
    async fn hosts(codec: Codec, limits: BusLimits) -> [Arc<dyn Bus>; 2] {
        [host("one", codec, limits.clone()).await, host("other", codec, limits).await]
    }
}

/// Two hosts are two engines, each with connections of its own. Each codec has a virtual host: it is a bus of its own.
async fn host(name: &str, codec: Codec, limits: BusLimits) -> Arc<dyn Bus> {
    let url = Broker::shared().url_of(&codec.name().to_lowercase());
    let metrics = Metrics::new().unwrap();
    let bus = AmqpBus::connect(AmqpOptions { url, tls: BusTls::default(), codec, limits, host: name.into(), metrics })
        .unwrap();
    bus.state().wait_for(|state| *state == BusState::Connected).await.unwrap();
    Arc::new(bus)
}

mshost_tests::conformance!(Amqp);
