//! The keys of `[bus]`.

use mshost_bus::{Absent, BusLimits, BusUrl, Durability, JournalSync};
use mshost_plugin_api::Codec;

use crate::declaration::{ConfigSection, SectionRole, keys};
use crate::kinds::{BusUrlKind, CodecKind, DurationKind, IntegerKind, PathKind, ServerNameKind, SizeKind, WordKind};

const MIN_MESSAGE: u64 = 1 << 10;
const MAX_MESSAGE: u64 = 1 << 30;
const MIN_JOURNAL: u64 = 1 << 20;
const MAX_JOURNAL: u64 = 1 << 43;

/// What a job outlives, by name.
pub(crate) const DURABILITIES: &[(&str, Durability)] =
    &[("transient", Durability::Transient), ("durable", Durability::Durable), ("replicated", Durability::Replicated)];

pub(crate) static SECTION: ConfigSection = ConfigSection {
    heading: "[bus]",
    role: SectionRole::TopLevel,
    doc: "The bus that the workers meet on, and its limits. When this table changes, every worker gets a successor on the new bus \
          and no restart is needed, unless the old and the new bus cannot be open at a time: another `codec`, other settings of \
          the same virtual host of a broker, and other settings of the same journal take effect at a restart.",
    example: "[bus]\nurl = \"amqp://mshost:${RABBITMQ_PASSWORD}@rabbit.example:5672\"\ndurability = \"replicated\"\nqueue_limit = 50000\nsend_timeout = \"10s\"\n",
    keys: &[KEYS],
};

keys! {
    /// The keys of the table.
    KEYS of "[bus]";

    /// Which bus: `embedded` is that of this process, a URL is a RabbitMQ broker. `BROKER_URL` in the environment wins over it.
    URL = "url": BusUrlKind = BusUrlKind, HasDefault(BusUrl::Embedded), ByBusMigration;

    /// A file whose text is the URL, instead of `url`.
    URL_FILE = "url_file": PathKind = PathKind, Optional("`url` says it"), ByBusMigration;

    /// The PEM file of the certificate authorities to trust, for `amqps://`.
    CA_FILE = "ca_file": PathKind = PathKind, Optional("those of the system"), ByBusMigration;

    /// The PEM file of a client certificate and its chain, for `amqps://`; needs `key_file`.
    CERT_FILE = "cert_file": PathKind = PathKind, Optional("no client certificate"), ByBusMigration;

    /// The PEM file of the client certificate's private key; needs `cert_file`.
    KEY_FILE = "key_file": PathKind = PathKind, Optional("no client certificate"), ByBusMigration;

    /// The name to expect in the broker's certificate, for `amqps://`.
    SERVER_NAME = "server_name": ServerNameKind = ServerNameKind, Optional("the host of the URL"), ByBusMigration;

    /// A file whose text is the password of the URL's user.
    PASSWORD_FILE = "password_file": PathKind = PathKind, Optional("the password in the URL, if any"), ByBusMigration;

    /// How data is written; the same for every host and worker on the bus.
    CODEC = "codec": CodecKind = CodecKind, HasDefault(Codec::MsgPack), ByBusMigration;

    /// The most jobs that wait in one queue; beyond, senders wait.
    QUEUE_LIMIT = "queue_limit": IntegerKind<usize> = IntegerKind(1..=100_000_000), HasDefault(BusLimits::DEFAULT.queue), ByBusMigration;

    /// The largest payload of a job.
    MAX_MESSAGE_SIZE = "max_message": SizeKind = SizeKind(MIN_MESSAGE..=MAX_MESSAGE),
        HasDefault(BusLimits::DEFAULT.message_bytes as u64), ByBusMigration;

    /// The most notifications that wait for one slow subscriber.
    NOTIFICATION_LIMIT = "notification_limit": IntegerKind<usize> = IntegerKind(1..=10_000_000),
        HasDefault(BusLimits::DEFAULT.notifications), ByBusMigration;

    /// The most jobs that are sent and not yet confirmed by a broker.
    IN_FLIGHT_LIMIT = "in_flight_limit": IntegerKind<usize> = IntegerKind(1..=65_535), HasDefault(BusLimits::DEFAULT.in_flight), ByBusMigration;

    /// How often a job may be delivered without being settled before it is taken for one that kills its workers, and given up.
    DELIVERY_LIMIT = "delivery_limit": IntegerKind<u32> = IntegerKind(1..=1_000), HasDefault(BusLimits::DEFAULT.deliveries), ByBusMigration;

    /// The most dead letters that are kept; jobs that fail beyond stay in their queues.
    DEAD_LETTER_LIMIT = "dead_letter_limit": IntegerKind<usize> = IntegerKind(1..=100_000_000),
        HasDefault(BusLimits::DEFAULT.dead_letters), ByBusMigration;

    /// What a job that waits on a broker outlives: `transient` its worker and its host, `durable` a restart of the broker, `replicated`
    /// the loss of a minority of a cluster's nodes (quorum queues).
    DURABILITY = "durability": WordKind<Durability> = WordKind(DURABILITIES), HasDefault(Durability::Durable), ByBusMigration;

    /// The folder in which the embedded bus keeps its jobs and dead letters.
    JOURNAL = "journal": PathKind = PathKind, Optional("they are in memory alone"), ByBusMigration;

    /// When the journal is on the disk: `always` survives a loss of power, `checkpoint` may lose the last jobs then (about 4 MB), `never`
    /// may lose the whole journal. A host that is killed loses nothing under any of them.
    JOURNAL_SYNC = "journal_sync": WordKind<JournalSync> = WordKind(&[
        ("always", JournalSync::Always),
        ("checkpoint", JournalSync::Checkpoint),
        ("never", JournalSync::Never),
    ]), HasDefault(JournalSync::Always), ByBusMigration;

    /// The most bytes that the journal may take; beyond, new jobs are refused.
    JOURNAL_LIMIT = "journal_limit": SizeKind = SizeKind(MIN_JOURNAL..=MAX_JOURNAL), HasDefault(16 << 30), ByBusMigration;

    /// What becomes of a job for a type that had workers and has none now: `fail` tells its sender at once, `wait` lets it wait for the
    /// next worker of the type until its deadline.
    ABSENT = "absent": WordKind<Absent> = WordKind(&[("fail", Absent::Fail), ("wait", Absent::Wait)]), HasDefault(Absent::Fail), ByBusMigration;

    /// How long a sender waits at a limit, or for a bus that cannot be reached.
    SEND_TIMEOUT = "send_timeout": DurationKind = DurationKind::Positive, HasDefault(BusLimits::DEFAULT.send_timeout), ByBusMigration;

    /// How long a broker may take to answer when a worker starts to consume; then the connection is closed and made anew.
    ANSWER_TIMEOUT = "answer_timeout": DurationKind = DurationKind::Positive, HasDefault(BusLimits::DEFAULT.answer_timeout), ByBusMigration;
}
