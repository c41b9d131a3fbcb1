//! Where something listens, and where the bus is.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use mshost_bus::BusUrl;
use serde_json::{Value, json};
use toml::de::DeValue;

use super::json::quoted;
use super::names::text;
use crate::declaration::{DefaultKind, ReadableKind, ValueKind};
use crate::read_context::Span;
use crate::value_node::ValueNode;

/// More sockets than one worker has names for.
const MAX_LISTEN: usize = 64;

/// An IP address and a port.
pub(crate) struct AddressKind;

impl ValueKind for AddressKind {
    fn wording(&self) -> String {
        "IP address and port".to_owned()
    }

    fn schema(&self) -> Value {
        json!({ "type": "string", "minLength": 1 })
    }
}

impl ReadableKind for AddressKind {
    type Value = SocketAddr;

    fn read(&self, node: &ValueNode<'_, '_>) -> Option<SocketAddr> {
        const WHAT: &str = "an IP address and a port, such as \"127.0.0.1:8080\"";
        let text = match (node.text(), node.value.get_ref()) {
            (Some(text), _) => text.ok()?,
            (None, DeValue::Integer(port)) if port.as_str().len() <= 5 => {
                return node.expected_help(WHAT, format!("write \"127.0.0.1:{port}\""));
            }
            _ => return node.expected(WHAT),
        };
        if let Ok(address) = text.parse() {
            return Some(address);
        }
        let (host, port) = text.rsplit_once(':').unwrap_or((&text, ""));
        let help = match (host, port.parse::<u16>()) {
            ("localhost", Ok(port)) => Some(format!("names are not looked up; write \"127.0.0.1:{port}\"")),
            ("" | "*", Ok(port)) => {
                Some(format!("write \"127.0.0.1:{port}\", or \"0.0.0.0:{port}\" to be reached from other machines"))
            }
            (_, Err(_)) if text.parse::<IpAddr>().is_ok() => Some("add a port, such as `:8080`".to_owned()),
            _ => None,
        };
        node.refuse(format!("`{}`: expected {WHAT}", node.key), format!("expected {WHAT}"), help)
    }
}

/// A loopback address and a port, or `"off"`.
pub(crate) struct AdminAddressKind;

impl ValueKind for AdminAddressKind {
    fn wording(&self) -> String {
        "loopback IP address and port, or `\"off\"`".to_owned()
    }

    fn schema(&self) -> Value {
        AddressKind.schema()
    }
}

impl ReadableKind for AdminAddressKind {
    type Value = Option<SocketAddr>;

    fn read(&self, node: &ValueNode<'_, '_>) -> Option<Option<SocketAddr>> {
        if matches!(node.text(), Some(Ok(text)) if text == "off") {
            return Some(None);
        }
        let admin = AddressKind.read(node)?;
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
}

impl DefaultKind for AdminAddressKind {
    type Constant = Option<SocketAddr>;

    fn literal(&self, constant: &Option<SocketAddr>) -> String {
        constant.map_or_else(|| quoted("off"), |address| quoted(address.to_string()))
    }
}

/// The addresses that a worker's sockets listen on, by name, and where each stands.
pub(crate) struct ListenKind;

pub(crate) type ListenAddresses = (BTreeMap<String, SocketAddr>, BTreeMap<String, Span>);

impl ValueKind for ListenKind {
    fn wording(&self) -> String {
        format!("table of at most {MAX_LISTEN} names, each with an IP address and a port")
    }

    fn schema(&self) -> Value {
        json!({ "type": "object", "maxProperties": MAX_LISTEN, "additionalProperties": AddressKind.schema() })
    }
}

impl ReadableKind for ListenKind {
    type Value = ListenAddresses;

    fn read(&self, node: &ValueNode<'_, '_>) -> Option<ListenAddresses> {
        let DeValue::Table(table) = node.value.get_ref() else {
            return node.expected_help(
                "a table of named addresses",
                "write `listen = { http = \"127.0.0.1:8080\" }` with the name that the plugin asks for",
            );
        };
        if table.len() > MAX_LISTEN {
            return node.refuse(format!("there are more than {MAX_LISTEN} addresses"), "too many", None);
        }
        let (mut addresses, mut spans) = ListenAddresses::default();
        for (name, value) in table {
            let name = name.get_ref();
            if let Some(address) = AddressKind.read(&ValueNode { cx: node.cx, key: name, value }) {
                addresses.insert(name.to_string(), address);
                spans.insert(name.to_string(), value.span());
            }
        }
        Some((addresses, spans))
    }
}

/// What a bus URL looks like, for "expected …".
pub(crate) const A_BUS_URL: &str = "\"embedded\" or a URL like \"amqp://user:password@host:5672\"";

/// Where the bus is: `"embedded"`, or the URL of a RabbitMQ broker.
pub(crate) struct BusUrlKind;

impl ValueKind for BusUrlKind {
    fn wording(&self) -> String {
        "`\"embedded\"`, or an `amqp://` or `amqps://` URL".to_owned()
    }

    fn schema(&self) -> Value {
        json!({ "type": "string", "pattern": r"^embedded$|^amqps?://|\$\{" })
    }
}

impl ReadableKind for BusUrlKind {
    type Value = BusUrl;

    fn read(&self, node: &ValueNode<'_, '_>) -> Option<BusUrl> {
        hide_password(node);
        let text = text(node)?;
        BusUrl::parse(&text)
            .map_or_else(|why| node.refuse(format!("`{}`: expected {A_BUS_URL}, but {why}", node.key), why, None), Some)
    }
}

impl DefaultKind for BusUrlKind {
    type Constant = BusUrl;

    fn literal(&self, constant: &BusUrl) -> String {
        quoted(constant.to_string())
    }
}

/// A URL whose password the source cannot see, for its escapes or its lack of a scheme, is hidden whole.
fn hide_password(node: &ValueNode<'_, '_>) {
    let span = node.span();
    if node.value.get_ref().as_str().is_some_and(|text| text.contains('@'))
        && !node.cx.source.hides_in(&span)
        && span.len() > 2
    {
        node.cx.hide(span.start + 1..span.end - 1);
    }
}
