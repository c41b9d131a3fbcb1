//! A bus that is reached over a socket, as isolated workers reach it, does what every bus must do.

use std::sync::Arc;

use mshost_bus::{Bus, BusState, Codec, Durability, HostBus};
use mshost_bus_amqp::{AmqpBus, AmqpOptions};
use mshost_bus_embedded::{EmbeddedBus, EmbeddedOptions};
use mshost_core::metrics::Metrics;
use mshost_tests::broker::Broker;
use mshost_tests::conformance::{BusSettings, Engine};
use mshost_tests::remote_bus::join;
use mshost_topology::BusTls;

/// Two children of one host.
struct OntoEmbedded;

impl Engine for OntoEmbedded {
    const KNOWS_STARTED_JOBS: bool = false;

    async fn hosts(codec: Codec, settings: BusSettings) -> [Arc<dyn HostBus>; 2] {
        let BusSettings { limits, absent } = settings;
        let options = EmbeddedOptions { codec, limits: limits.clone(), absent, journal: None, metrics: None };
        let bus = Arc::new(EmbeddedBus::open(options).expect("an embedded bus"));
        [Arc::new(join(bus.clone(), &limits)), Arc::new(join(bus, &limits))]
    }
}

mshost_tests::conformance!(OntoEmbedded);

/// Children of two hosts.
struct OntoAmqp;

impl Engine for OntoAmqp {
    const SHARED_PREFETCH: bool = false;
    const KNOWS_STARTED_JOBS: bool = false;

    async fn hosts(codec: Codec, settings: BusSettings) -> [Arc<dyn HostBus>; 2] {
        [child_of("one", codec, settings.clone()).await, child_of("other", codec, settings).await]
    }
}

async fn child_of(host: &str, codec: Codec, settings: BusSettings) -> Arc<dyn HostBus> {
    let url = Broker::shared().url_of("remote");
    let metrics = Metrics::new().unwrap();
    let (tls, host, durability) = (BusTls::default(), host.to_owned(), Durability::Durable);
    let BusSettings { limits, absent } = settings;
    let options = AmqpOptions { url, tls, codec, durability, absent, limits: limits.clone(), host, metrics };
    let bus = AmqpBus::connect(options).unwrap();
    bus.state().wait_for(|state| *state == BusState::Connected).await.unwrap();
    Arc::new(join(Arc::new(bus), &limits))
}

mod onto_amqp {
    use super::OntoAmqp;

    mshost_tests::conformance_in!(OntoAmqp, msgpack, MsgPack);
}
