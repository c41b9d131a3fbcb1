//! A message on its way out.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::headers::RESENT;

/// A message on its way out.
#[derive(Debug, Clone)]
pub(crate) struct OutgoingMessage {
    pub(crate) exchange: ShortString,
    pub(crate) key: ShortString,
    /// Whether it is an error that no queue is there for it.
    pub(crate) mandatory: bool,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Bytes,
}

impl OutgoingMessage {
    /// The id that a returned message is recognised by, where it has one.
    pub(crate) fn id(&self) -> Option<String> {
        self.properties.message_id().as_ref().map(ToString::to_string)
    }

    /// Its properties where it is published once more: the worker that receives it may have received it before.
    pub(crate) fn resent_properties(&self) -> BasicProperties {
        match self.properties.headers() {
            // A notification: it carries no properties.
            None => self.properties.clone(),
            Some(headers) => {
                let mut headers: FieldTable = headers.clone();
                headers.insert(RESENT.into(), AMQPValue::Boolean(true));
                self.properties.clone().with_headers(headers)
            }
        }
    }
}
