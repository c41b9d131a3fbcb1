//! `[host]`, `[bus]`, `[manager]` and `[log]`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mshost_bus::{Absent, BusLimits, BusTls, BusUrl, Durability};
use mshost_core::telemetry::{LogFormat, LogLevel, LogSettings};
use mshost_plugin_api::Codec;

use super::access;
use super::canary::canary;
use super::config::{BusConfig, HostConfig, ManagerConfig, Watch};
use super::files;
use super::journal;
use super::legacy::Legacy;
use super::values::{
    address, boolean, duration, duration_or_off, integer, one_of, path_in, positive_duration, size, text,
};
use super::walk::{Fields, Node};

/// The tables of the file and their keys: what `key is a key of [table]` is said from.
const PLACES: [(&str, &[&str]); 7] = [
    (
        "[host]",
        &[
            "name",
            "plugins",
            "admin",
            "state",
            "debounce",
            "plugin_threads",
            "parallel_loads",
            "shutdown_timeout",
            "mapped_limit",
            "watch",
            "snapshot_limit",
            "canary",
        ],
    ),
    (
        "[bus]",
        &[
            "url",
            "url_file",
            "ca_file",
            "cert_file",
            "key_file",
            "server_name",
            "password_file",
            "codec",
            "queue_limit",
            "max_message",
            "notification_limit",
            "in_flight_limit",
            "delivery_limit",
            "dead_letter_limit",
            "absent",
            "journal",
            "journal_sync",
            "journal_limit",
            "send_timeout",
            "answer_timeout",
        ],
    ),
    ("[manager]", &["enabled", "keepalive", "expire_after", "max_workers", "max_proxies"]),
    ("[log]", &["format", "level", "manager", "worker"]),
    ("[[worker]]", &["type", "plugin", "instances", "listen", "isolation", "limits", "sandbox"]),
    ("[bus] and of [[worker]]", &["durability"]),
    (
        "[[worker]] and of [defaults]",
        &[
            "concurrency",
            "timeout",
            "retry",
            "deadline",
            "start_timeout",
            "drain_timeout",
            "restart",
            "parked",
            "abandoned_threads",
        ],
    ),
];

/// The table that a key is right in.
pub(super) fn place_of(key: &str) -> Option<&'static str> {
    PLACES.iter().find(|(_, keys)| keys.contains(&key)).map(|(place, _)| *place)
}

const MIN_MESSAGE: u64 = 1 << 10;
const MAX_MESSAGE: u64 = 1 << 30;
/// It is held in memory three times over for a moment.
const MAX_SNAPSHOT: u64 = 1 << 32;
/// Enough to ride out a long keepalive's lost answers, few enough to notice a dead worker.
const KEEPALIVES_TO_EXPIRE: u32 = 3;

pub(super) fn host(fields: Option<Fields<'_, '_>>, folder: &Path) -> HostConfig {
    let mut config = HostConfig {
        name: String::new(),
        plugins: folder.join("plugins"),
        admin: Some(SocketAddr::from(([127, 0, 0, 1], 9091))),
        state: folder.join("state"),
        debounce: Duration::from_millis(200),
        plugin_threads: 1,
        parallel_loads: 4,
        shutdown_timeout: Duration::from_secs(30),
        mapped_limit: 64,
        watch: Watch::default(),
        snapshot_limit: 16 << 20,
        canary: None,
    };
    if let Some(mut host) = fields {
        set(&mut config.name, host.take("name", host_name));
        set(&mut config.plugins, host.take("plugins", path_in(folder)));
        set(&mut config.admin, host.take("admin", admin));
        set(&mut config.state, host.take("state", path_in(folder)));
        set(&mut config.debounce, host.take("debounce", duration));
        set(&mut config.plugin_threads, host.take("plugin_threads", integer(1..=64)));
        set(&mut config.parallel_loads, host.take("parallel_loads", integer(1..=64)));
        set(&mut config.shutdown_timeout, host.take("shutdown_timeout", positive_duration));
        set(&mut config.mapped_limit, host.take("mapped_limit", integer(1..=10_000)));
        set(&mut config.watch, host.take("watch", one_of(&[("native", Watch::Native), ("poll", Watch::Poll)])));
        set(
            &mut config.snapshot_limit,
            host.take("snapshot_limit", size(1..=MAX_SNAPSHOT)).map(|size: usize| size as u64),
        );
        config.canary = host.take("canary", canary);
        host.finish(place_of);
    }
    if config.name.is_empty() {
        config.name = machine_name();
    }
    config
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn host_name(node: &Node<'_, '_>) -> Option<String> {
    let name = text(node)?;
    if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
        return node.expected("a name of 1 to 255 bytes without control characters");
    }
    Some(name)
}

fn machine_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "mshost".to_owned() } else { name.to_owned() }
}

fn admin(node: &Node<'_, '_>) -> Option<Option<SocketAddr>> {
    if matches!(node.text(), Some(Ok(text)) if text == "off") {
        return Some(None);
    }
    let admin = address(node)?;
    if !admin.ip().is_loopback() {
        return node.refuse(
            format!("the admin server cannot listen on {admin}"),
            "not a loopback address",
            Some(format!(
                "other machines could reach it there, which demands a token, and tokens are not supported yet; \
                 write \"127.0.0.1:{}\"",
                admin.port()
            )),
        );
    }
    Some(Some(admin))
}

pub(super) fn bus(
    fields: Option<Fields<'_, '_>>,
    folder: &Path,
    legacy: &Legacy,
    environment: Option<BusUrl>,
    files: &mut Vec<PathBuf>,
) -> BusConfig {
    let (mut url, mut codec, mut limits) = (None, None, BusLimits::default());
    let mut tls = BusTls::default();
    // The environment wins over every file, as in the original's compose file.
    let resolve = |url: Option<BusUrl>| environment.clone().or(url).or_else(|| legacy.url.clone()).unwrap_or_default();
    let (mut durability, mut absent, mut kept) = (Durability::default(), Absent::default(), None);
    if let Some(mut bus) = fields {
        let inline = bus.node("url");
        let from_file = bus.node("url_file");
        let is_set = inline.is_some() || from_file.is_some();
        if let (Some(inline), Some(file)) = (inline, from_file) {
            let help = Some("leave one of them out".to_owned());
            let _: Option<()> = file.refuse("both `url` and `url_file` are set", "there is a `url` too", help);
            let _ = bus_url(&inline);
        } else {
            url = inline.and_then(|node| bus_url(&node)).or_else(|| url_file(&from_file?, folder, files));
        }
        let is_known = url.is_some() || !is_set || environment.is_some();
        let mut resolved = resolve(url);
        tls = access::read(&mut bus, is_known.then_some(&mut resolved), folder, files);
        url = Some(resolved);
        codec = bus.take("codec", read_codec);
        set(&mut limits.queue, bus.take("queue_limit", integer(1..=100_000_000)));
        set(&mut limits.message_bytes, bus.take("max_message", size(MIN_MESSAGE..=MAX_MESSAGE)));
        set(&mut limits.notifications, bus.take("notification_limit", integer(1..=10_000_000)));
        set(&mut limits.in_flight, bus.take("in_flight_limit", integer(1..=65_535)));
        set(&mut limits.deliveries, bus.take("delivery_limit", integer(1..=1_000)));
        set(&mut limits.dead_letters, bus.take("dead_letter_limit", integer(1..=100_000_000)));
        set(&mut durability, bus.take("durability", one_of(DURABILITIES)));
        kept = journal::read(&mut bus, folder);
        set(&mut absent, bus.take("absent", one_of(&[("fail", Absent::Fail), ("wait", Absent::Wait)])));
        set(&mut limits.send_timeout, bus.take("send_timeout", positive_duration));
        set(&mut limits.answer_timeout, bus.take("answer_timeout", positive_duration));
        bus.finish(place_of);
    }
    BusConfig {
        url: url.unwrap_or_else(|| resolve(None)),
        tls,
        codec: codec.or(legacy.codec).unwrap_or_default(),
        durability,
        absent,
        journal: kept,
        limits,
    }
}

pub(super) const DURABILITIES: &[(&str, Durability)] =
    &[("transient", Durability::Transient), ("durable", Durability::Durable), ("replicated", Durability::Replicated)];

/// What a bus URL looks like, for "expected …".
pub(super) const A_BUS_URL: &str = "\"embedded\" or a URL like \"amqp://user:password@host:5672\"";

pub(super) fn bus_url(node: &Node<'_, '_>) -> Option<BusUrl> {
    hide_url(node);
    let text = text(node)?;
    BusUrl::parse(&text)
        .map_or_else(|why| node.refuse(format!("`{}`: expected {A_BUS_URL}, but {why}", node.key), why, None), Some)
}

/// A URL whose password the source cannot see, for its escapes or its lack of a scheme, is hidden whole.
fn hide_url(node: &Node<'_, '_>) {
    let span = node.span();
    if node.value.get_ref().as_str().is_some_and(|text| text.contains('@'))
        && !node.cx.source.hides_in(&span)
        && span.len() > 2
    {
        node.cx.hide(span.start + 1..span.end - 1);
    }
}

fn url_file(node: &Node<'_, '_>, folder: &Path, files: &mut Vec<PathBuf>) -> Option<BusUrl> {
    let path = path_in(folder)(node)?;
    let text = match files::read_bytes(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            let help = Some(format!("looked for {}", path.display()));
            return node.refuse(format!("`url_file` cannot be read: {error}"), "cannot be read", help);
        }
    };
    files.push(path);
    BusUrl::parse(text.trim()).map_or_else(
        |why| node.refuse(format!("the file of `url_file` does not hold a bus URL: {why}"), why, None),
        Some,
    )
}

pub(super) fn read_codec(node: &Node<'_, '_>) -> Option<Codec> {
    const WHAT: &str = "\"msgpack\", \"JSON\" or \"BSON\"";
    let Some(text) = node.text() else { return node.expected(WHAT) };
    let text = text.ok()?;
    text.parse().map_or_else(
        |_| {
            let near = super::suggest::nearest(&text, Codec::ALL.map(Codec::name));
            let help = near.map(|near| format!("did you mean \"{near}\"?"));
            node.refuse(format!("`{}`: expected {WHAT}", node.key), "no such codec", help)
        },
        Some,
    )
}

pub(super) fn manager(fields: Option<Fields<'_, '_>>, legacy: &Legacy) -> ManagerConfig {
    let default_keepalive = legacy.keepalive.unwrap_or(Some(Duration::from_secs(10)));
    let expire = |keepalive: Option<Duration>| keepalive.unwrap_or(Duration::from_secs(10)) * KEEPALIVES_TO_EXPIRE;
    let mut config = ManagerConfig {
        enabled: true,
        keepalive: default_keepalive,
        expire_after: expire(default_keepalive),
        max_workers: 10_000,
        max_proxies: 1_000,
    };
    let Some(mut manager) = fields else { return config };
    set(&mut config.enabled, manager.take("enabled", boolean));
    set(&mut config.keepalive, manager.take("keepalive", duration_or_off));
    config.expire_after = expire(config.keepalive);
    set(&mut config.max_workers, manager.take("max_workers", integer(1..=1_000_000)));
    set(&mut config.max_proxies, manager.take("max_proxies", integer(1..=60_000)));
    let keepalive = config.keepalive;
    let expire_after = manager.take("expire_after", |node| {
        let after = positive_duration(node)?;
        match keepalive {
            Some(keepalive) if after <= keepalive => node.refuse(
                "`expire_after` must be longer than `keepalive`",
                format!("not longer than the keepalive of {}", humantime::format_duration(keepalive)),
                Some("every worker would expire before it is asked; the default is three keepalives".to_owned()),
            ),
            _ => Some(after),
        }
    });
    set(&mut config.expire_after, expire_after);
    manager.finish(place_of);
    config
}

const LEVELS: &[(&str, LogLevel)] = &[
    ("off", LogLevel::Off),
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

/// The original's `SystemManager_log` and `Worker_log` silence what goes well, never warnings and errors.
pub(super) fn log(fields: Option<Fields<'_, '_>>, legacy: &Legacy) -> LogSettings {
    let mut settings = LogSettings::default();
    if let Some(mut log) = fields {
        set(&mut settings.format, log.take("format", one_of(&[("text", LogFormat::Text), ("json", LogFormat::Json)])));
        set(&mut settings.level, log.take("level", one_of(LEVELS)));
        settings.manager = log.take("manager", one_of(LEVELS));
        settings.worker = log.take("worker", one_of(LEVELS));
        log.finish(place_of);
    }
    let quiet = settings.level.min(LogLevel::Warn);
    let silenced = |switch: Option<bool>| (switch == Some(false)).then_some(quiet);
    settings.manager = settings.manager.or(silenced(legacy.manager_log));
    settings.worker = settings.worker.or(silenced(legacy.worker_log));
    settings
}
