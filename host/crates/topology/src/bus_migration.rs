//! Whether a running host can move from one bus to another.

use mshost_bus::{AmqpUrl, BusUrl};

use super::config::BusConfig;

impl BusConfig {
    /// Whether workers can move to `newer` while the host runs: both must be open at a time, and a job has to be on one of
    /// them. Two connections to one broker would share queues whose arguments need not agree, a journal is opened once, and
    /// not all data of one codec can be written in another.
    #[must_use]
    pub fn can_move_to(&self, newer: &Self) -> bool {
        let share = match (&self.url, &newer.url) {
            (BusUrl::Amqp(old), BusUrl::Amqp(new)) => same_broker(old, new),
            (BusUrl::Embedded, BusUrl::Embedded) => {
                self.journal.as_ref().zip(newer.journal.as_ref()).is_some_and(|(old, new)| old.folder == new.folder)
            }
            _ => false,
        };
        !share && self.codec == newer.codec
    }
}

/// Whether both lead to the same virtual host of the same broker, as far as one can see. A broker has a port for each scheme.
fn same_broker(a: &AmqpUrl, b: &AmqpUrl) -> bool {
    let (host, port, vhost) = a.place();
    let other = b.place();
    (host, vhost) == (other.0, other.2) && (port == other.1 || a.is_tls() != b.is_tls())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;

    fn bus(lines: &str) -> BusConfig {
        super::super::parse(Path::new("topology.toml"), &format!("[bus]\n{lines}\n"), &|_| None).unwrap().bus
    }

    #[test]
    fn two_buses_must_not_share_queues_or_a_journal() {
        for (old, new, can) in [
            ("", "url = \"amqp://h\"", true),
            ("url = \"amqp://h\"", "", true),
            ("journal = \"a\"", "url = \"amqp://h\"", true),
            ("", "queue_limit = 1", true),
            ("", "journal = \"a\"", true),
            ("journal = \"a\"", "", true),
            ("journal = \"a\"", "journal = \"b\"", true),
            ("journal = \"a\"", "journal = \"a\"\nqueue_limit = 1", false),
            ("url = \"amqp://h\"", "url = \"amqp://i\"", true),
            ("url = \"amqp://h\"", "url = \"amqp://h/v\"", true),
            ("url = \"amqp://h\"", "url = \"amqp://h:5673\"", true),
            ("url = \"amqp://h\"", "url = \"amqp://u:p@H:5672/%2F?heartbeat=9\"", false),
            ("url = \"amqp://h\"", "url = \"amqps://h\"", false),
            ("", "url = \"amqp://h\"\ncodec = \"JSON\"", false),
        ] {
            assert_eq!(bus(old).can_move_to(&bus(new)), can, "{old} → {new}");
        }
    }
}
