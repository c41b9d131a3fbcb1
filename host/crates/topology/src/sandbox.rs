//! `sandbox` of `[[worker]]`: what a worker in a process of its own may change and reach.

use std::path::PathBuf;

use toml::de::DeValue;

use super::values::{integer, text};
use super::walk::{Fields, Node};

/// More than one worker needs.
const MAX_ENTRIES: usize = 64;

/// What the process of a worker may do besides reading; what is not listed it may not.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Sandbox {
    /// Files, and folders with all that is in them, that it may write, make and remove; relative to the folder that the
    /// host was started in (`write`).
    pub write: Vec<PathBuf>,
    /// The TCP ports that it may connect to (`connect`).
    pub connect: Vec<u16>,
    /// The TCP ports that it may listen on itself; the sockets of `listen` are the host's (`bind`).
    pub bind: Vec<u16>,
}

pub(super) fn sandbox(node: &Node<'_, '_>) -> Option<Sandbox> {
    let mut fields = Fields::of(node, "`sandbox`")?;
    let port = integer(1..=u16::MAX);
    let sandbox = Sandbox {
        write: fields.take("write", list(|node| text(node).map(PathBuf::from))).unwrap_or_default(),
        connect: fields.take("connect", list(&port)).unwrap_or_default(),
        bind: fields.take("bind", list(&port)).unwrap_or_default(),
    };
    fields.finish(|_| None);
    Some(sandbox)
}

fn list<T>(each: impl Fn(&Node<'_, '_>) -> Option<T>) -> impl Fn(&Node<'_, '_>) -> Option<Vec<T>> {
    move |node| {
        let DeValue::Array(array) = node.value.get_ref() else { return node.expected("an array") };
        if array.len() > MAX_ENTRIES {
            return node.refuse(format!("there are more than {MAX_ENTRIES} entries"), "too many", None);
        }
        let each = array.iter().map(|value| each(&Node { cx: node.cx, key: node.key, value }));
        Some(each.collect::<Vec<_>>().into_iter().flatten().collect())
    }
}
