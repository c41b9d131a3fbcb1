//! Reads `[bus]`.

use mshost_bus::{BusLimits, BusUrl, JournalConfig};

use super::broker_access;
use super::msjs::MsjsConfig;
use crate::config::BusConfig;
use crate::declaration::ReadableKind as _;
use crate::files;
use crate::keys::bus;
use crate::table_reader::TableReader;
use crate::value_node::ValueNode;

/// Reads the table. The environment's URL wins over every file, as in the compose file of MicroServices.js.
pub(crate) fn read(mut table: TableReader<'_, '_>, msjs: &MsjsConfig, of_environment: Option<BusUrl>) -> BusConfig {
    let resolve = |url: Option<BusUrl>| {
        of_environment.clone().or(url).or_else(|| msjs.url.clone()).unwrap_or_else(|| bus::URL.default.clone())
    };
    let inline = table.node(&bus::URL);
    let from_file = table.node(&bus::URL_FILE);
    let is_set = inline.is_some() || from_file.is_some();
    let url = if let (Some(inline), Some(file)) = (inline, from_file) {
        let help = Some("leave one of them out".to_owned());
        let _: Option<()> = file.refuse("both `url` and `url_file` are set", "there is a `url` too", help);
        let _ = bus::URL.kind.read(&inline);
        None
    } else {
        inline.and_then(|node| bus::URL.kind.read(&node)).or_else(|| url_of_file(&from_file?))
    };
    let is_known = url.is_some() || !is_set || of_environment.is_some();
    let mut url = resolve(url);
    let tls = broker_access::read(&mut table, is_known.then_some(&mut url));
    let config = BusConfig {
        url,
        tls,
        codec: table.find(&bus::CODEC).or(msjs.codec).unwrap_or(bus::CODEC.default),
        durability: table.read(&bus::DURABILITY),
        absent: table.read(&bus::ABSENT),
        journal: read_journal(&mut table),
        limits: BusLimits {
            queue: table.read(&bus::QUEUE_LIMIT),
            message_bytes: table.read(&bus::MAX_MESSAGE_SIZE) as usize,
            notifications: table.read(&bus::NOTIFICATION_LIMIT),
            in_flight: table.read(&bus::IN_FLIGHT_LIMIT),
            deliveries: table.read(&bus::DELIVERY_LIMIT),
            dead_letters: table.read(&bus::DEAD_LETTER_LIMIT),
            send_timeout: table.read(&bus::SEND_TIMEOUT),
            answer_timeout: table.read(&bus::ANSWER_TIMEOUT),
        },
    };
    table.finish();
    config
}

/// The journal of the embedded bus; `None` without `journal`, whatever the other keys say.
fn read_journal(table: &mut TableReader<'_, '_>) -> Option<JournalConfig> {
    let folder = table.find(&bus::JOURNAL);
    let (sync, limit) = (table.read(&bus::JOURNAL_SYNC), table.read(&bus::JOURNAL_LIMIT));
    Some(JournalConfig { folder: folder?, sync, limit })
}

fn url_of_file(node: &ValueNode<'_, '_>) -> Option<BusUrl> {
    let path = bus::URL_FILE.kind.read(node)?;
    let text = match files::read_bytes(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            let help = Some(format!("looked for {}", path.display()));
            return node.refuse(format!("`url_file` cannot be read: {error}"), "cannot be read", help);
        }
    };
    node.cx.note_file(path);
    BusUrl::parse(text.trim()).map_or_else(
        |why| node.refuse(format!("the file of `url_file` does not hold a bus URL: {why}"), why, None),
        Some,
    )
}
