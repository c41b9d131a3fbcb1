//! The bus over RabbitMQ does what every bus must do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use mshost_bus::{Bus, BusState, Codec, Durability, HostBus};
use mshost_bus_amqp::{AmqpBus, AmqpOptions};
use mshost_core::metrics::Metrics;
use mshost_tests::broker::Broker;
use mshost_tests::conformance::{BusSettings, Engine};
use mshost_topology::BusTls;
use tokio::sync::Mutex;

struct Amqp;

impl Engine for Amqp {
    const SHARED_PREFETCH: bool = false;

    async fn hosts(codec: Codec, settings: BusSettings) -> [Arc<dyn HostBus>; 2] {
        hosts(codec, settings, Durability::Durable).await
    }
}

/// The same with quorum queues, which lack some of what classic queues have and count for themselves.
struct Quorum;

impl Engine for Quorum {
    const SHARED_PREFETCH: bool = false;

    async fn hosts(codec: Codec, settings: BusSettings) -> [Arc<dyn HostBus>; 2] {
        hosts(codec, settings, Durability::Replicated).await
    }
}

/// Two hosts are two engines, each with connections of its own.
async fn hosts(codec: Codec, settings: BusSettings, durability: Durability) -> [Arc<dyn HostBus>; 2] {
    [host("one", codec, settings.clone(), durability).await, host("other", codec, settings, durability).await]
}

/// The queues that hosts themselves take from.
const ATTENDED: [&str; 6] = [
    "mshost.retry.0",
    "mshost.retry.100",
    "mshost.retry.1000",
    "mshost.retry.10000",
    "mshost.retry.100000",
    "mshost.undone",
];

/// Each codec and durability has a virtual host: it is a bus of its own.
async fn host(name: &str, codec: Codec, settings: BusSettings, durability: Durability) -> Arc<dyn HostBus> {
    static MADE: Mutex<BTreeSet<String>> = Mutex::const_new(BTreeSet::new());
    let url = Broker::shared().url_of(&format!("{}-{durability:?}", codec.name()).to_lowercase());
    // Of several hosts that are the first on a broker some lose their connection once: RabbitMQ 3.10.8 says of a quorum queue
    // that another is just making that it is there, and fails with INTERNAL_ERROR when it is consumed from too early. They
    // connect again, and what was in hand comes again, flagged; checks that count on quiet begin when all is made.
    let mut made = MADE.lock().await;
    let bus = connect(name, &url, codec, settings, durability).await;
    if made.insert(url.clone()) {
        until_attended(&url).await;
    }
    bus
}

async fn until_attended(url: &str) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    for queue in ATTENDED {
        let consumers = async || {
            // It is closed where the queue is not there.
            let channel = connection.create_channel().await.unwrap();
            let queue = channel.queue_declare(queue.into(), passive, FieldTable::default()).await;
            queue.map_or(0, |queue| queue.consumer_count())
        };
        let attended = async {
            while consumers().await == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), attended).await.expect(queue);
    }
}

async fn connect(
    name: &str,
    url: &str,
    codec: Codec,
    settings: BusSettings,
    durability: Durability,
) -> Arc<dyn HostBus> {
    let url = url.to_owned();
    let metrics = Metrics::new().unwrap();
    let BusSettings { limits, absent } = settings;
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
