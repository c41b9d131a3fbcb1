//! Where the broker is, in a form that can be logged: the password never leaves this file but towards the broker.

use std::fmt;

use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};

use crate::bus::BusError;

/// Seconds between heartbeats where the URL has no `?heartbeat=`.
const HEARTBEAT_SECONDS: u16 = 10;

/// A broker's address and login. Its `Display` and `Debug` show the host, the port and the virtual host only.
#[derive(Clone)]
pub(super) struct Endpoint {
    uri: AMQPUri,
}

impl Endpoint {
    /// Reads a URL like `amqp://user:password@host:5672/vhost?heartbeat=10`.
    pub(super) fn parse(url: &str) -> Result<Self, BusError> {
        let refuse = |reason: String| BusError::Refused { what: "cannot use the URL of the bus".into(), reason };
        // The parser's own words can hold the whole URL, with its password.
        let mut uri: AMQPUri = url.parse().map_err(|_| {
            let scheme = url.split(':').next().filter(|scheme| !scheme.contains(['@', '/'])).unwrap_or_default();
            refuse(format!("expected `amqp://USER:PASSWORD@HOST:5672/VHOST` or `amqps://…`, found `{scheme}:…`"))
        })?;
        // The URI parser takes names and IPv4 addresses, and falls back to localhost for whatever else.
        if url.contains('[') && url.contains(']') {
            return Err(refuse("an IPv6 address cannot be used in it; give the host's name".into()));
        }
        // `amqp://host/` names the empty virtual host, which nobody has.
        if uri.vhost.is_empty() {
            uri.vhost = "/".into();
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        Ok(Self { uri })
    }

    /// Connects once. `name` is what the broker's tools show for the connection.
    pub(super) async fn connect(&self, name: String) -> lapin::Result<Connection> {
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        Connection::connect_uri(self.uri.clone(), properties).await
    }

    /// The user that logs in.
    pub(super) fn user(&self) -> &str {
        &self.uri.authority.userinfo.username
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = &self.uri.authority;
        write!(f, "{}://{}:{}", self.uri.scheme, authority.host, authority.port)?;
        if self.uri.vhost != "/" {
            write!(f, "/{}", self.uri.vhost)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn nothing_shows_the_password() {
        let endpoint = Endpoint::parse("amqp://me:s3cret@broker:1234/farm").unwrap();
        assert_eq!(endpoint.to_string(), "amqp://broker:1234/farm");
        assert!(!format!("{endpoint:?}").contains("s3cret"));
        for bad in ["http://me:s3cret@broker", "amqp:me:s3cret@broker", "me:s3cret@broker", "amqp://me:s3cret@bro ker"]
        {
            let error = Endpoint::parse(bad).unwrap_err().to_string();
            assert!(!error.contains("s3cret") && error.contains("amqp://USER"), "{error}");
        }
    }

    #[test]
    fn defaults_are_filled_in() {
        let uri = |url: &str| Endpoint::parse(url).unwrap().uri;
        assert_eq!(uri("amqp://broker").query.heartbeat, Some(HEARTBEAT_SECONDS));
        assert_eq!(uri("amqp://broker?heartbeat=3").query.heartbeat, Some(3));
        assert_eq!((uri("amqp://broker").vhost, uri("amqp://broker/").vhost), ("/".into(), "/".into()));
        assert_eq!(uri("amqp://broker/%2f").vhost, "/");
        assert!(Endpoint::parse("amqp://[::1]:5672").is_err());
    }
}
