//! The bus over RabbitMQ does what every bus must do.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use mshost::bus::amqp::{AmqpBus, AmqpOptions};
use mshost::bus::{Bus, BusState, Codec, Durability};
use mshost::metrics::Metrics;
use mshost::topology::BusTls;
use mshost_tests::broker::Broker;
use mshost_tests::conformance::{Engine, Settings};

struct Amqp;

impl Engine for Amqp {
    async fn hosts(codec: Codec, settings: Settings) -> [Arc<dyn Bus>; 2] {
        hosts(codec, settings, Durability::Durable).await
    }
}

/// The same with quorum queues, which lack some of what classic queues have and count for themselves.
struct Quorum;

impl Engine for Quorum {
    const SHARED_PREFETCH: bool = false;

    async fn hosts(codec: Codec, settings: Settings) -> [Arc<dyn Bus>; 2] {
        hosts(codec, settings, Durability::Replicated).await
    }
}

/// Two hosts are two engines, each with connections of its own.
async fn hosts(codec: Codec, settings: Settings, durability: Durability) -> [Arc<dyn Bus>; 2] {
    [host("one", codec, settings.clone(), durability).await, host("other", codec, settings, durability).await]
}

/// Each codec and durability has a virtual host: it is a bus of its own.
async fn host(name: &str, codec: Codec, settings: Settings, durability: Durability) -> Arc<dyn Bus> {
    let url = Broker::shared().url_of(&format!("{}-{durability:?}", codec.name()).to_lowercase());
    let metrics = Metrics::new().unwrap();
    let Settings { limits, absent } = settings;
    let (tls, host) = (BusTls::default(), name.to_owned());
    let bus = AmqpBus::connect(AmqpOptions { url, tls, codec, durability, absent, limits, host, metrics }).unwrap();
    bus.state().wait_for(|state| *state == BusState::Connected).await.unwrap();
    Arc::new(bus)
}

mshost_tests::conformance!(Amqp);

mod quorum {
    use super::Quorum;

    mshost_tests::conformance_in!(Quorum, msgpack, MsgPack);
}
