//! Opens the bus that a topology names: for the host, and for commands that read it on their own.

use std::sync::Arc;

use mshost_bus::{BusError, HostBus};
use mshost_bus_amqp::{AmqpBus, AmqpOptions};
use mshost_bus_embedded::{EmbeddedBus, EmbeddedOptions};
use mshost_core::metrics::Metrics;
use mshost_topology::{BusUrl, Topology};

/// Opens it, in the tokio runtime that this is called in. One over a network connects in the background: see [its state](mshost_bus::Bus::state).
///
/// # Errors
/// Where what the topology says of it can never work.
pub fn open_bus(topology: &Topology, metrics: &Arc<Metrics>) -> Result<Arc<dyn HostBus>, BusError> {
    let config = &topology.bus;
    Ok(match &config.url {
        BusUrl::Embedded => Arc::new(EmbeddedBus::open(EmbeddedOptions {
            codec: config.codec,
            limits: config.limits.clone(),
            absent: config.absent,
            journal: config.journal.clone(),
            metrics: Some(Arc::clone(metrics)),
        })?),
        BusUrl::Amqp(url) => Arc::new(AmqpBus::connect(AmqpOptions {
            url: url.expose().to_owned(),
            tls: config.tls.clone(),
            codec: config.codec,
            durability: config.durability,
            absent: config.absent,
            limits: config.limits.clone(),
            host: topology.host.name.clone(),
            metrics: Arc::clone(metrics),
        })?),
    })
}
