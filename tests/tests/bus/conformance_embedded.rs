//! The embedded bus does what every bus must do, in memory alone and with a journal.

use std::sync::Arc;

use mshost_bus::{Codec, HostBus};
use mshost_bus_embedded::{EmbeddedBus, EmbeddedOptions, JournalConfig, JournalSync};
use mshost_tests::conformance::{BusSettings, Engine};

fn open(codec: Codec, settings: BusSettings, journal: Option<JournalConfig>) -> [Arc<dyn HostBus>; 2] {
    let BusSettings { limits, absent } = settings;
    let options = EmbeddedOptions { codec, limits, absent, journal, metrics: None };
    let bus = Arc::new(EmbeddedBus::open(options).expect("an embedded bus"));
    [bus.clone(), bus]
}

struct Embedded;

impl Engine for Embedded {
    async fn hosts(codec: Codec, settings: BusSettings) -> [Arc<dyn HostBus>; 2] {
        open(codec, settings, None)
    }
}

mshost_tests::conformance!(Embedded);

mod with_a_journal {
    use super::*;

    struct Journaled;

    impl Engine for Journaled {
        async fn hosts(codec: Codec, settings: BusSettings) -> [Arc<dyn HostBus>; 2] {
            // The open file outlives its name.
            let folder = tempfile::tempdir().expect("a temporary folder");
            let sync = JournalSync::Checkpoint;
            open(codec, settings, Some(JournalConfig { folder: folder.path().to_owned(), sync, limit: 1 << 30 }))
        }
    }

    mshost_tests::conformance!(Journaled);
}
