//! The embedded bus does what every bus must do.

use std::sync::Arc;

use mshost::bus::embedded::EmbeddedBus;
use mshost::bus::{Bus, BusLimits, Codec};
use mshost_tests::conformance::Engine;

struct Embedded;

impl Engine for Embedded {
    async fn hosts(codec: Codec, limits: BusLimits) -> [Arc<dyn Bus>; 2] {
        let bus = Arc::new(EmbeddedBus::new(limits, codec));
        [bus.clone(), bus]
    }
}

mshost_tests::conformance!(Embedded);
