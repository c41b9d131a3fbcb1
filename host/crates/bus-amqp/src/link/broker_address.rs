//! Where the broker is, in a form that can be logged: the password never leaves this file but towards the broker.

use std::fmt;

use lapin::uri::{AMQPScheme, AMQPUri, SASLMechanism};
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};
use mshost_bus::BusError;
use mshost_bus::{BusTls, BusUrl};

use super::broker_tls::{self, BrokerTls};

/// Seconds between heartbeats where the URL has no `?heartbeat=`.
const HEARTBEAT_SECONDS: u16 = 10;

/// A broker's address and login. Its `Display` and `Debug` show the host, the port and the virtual host only.
#[derive(Clone)]
pub(crate) struct BrokerAddress {
    uri: AMQPUri,
    tls: Option<BrokerTls>,
}

impl BrokerAddress {
    /// Reads a URL like `amqp://user:password@host:5672/vhost?heartbeat=10`.
    pub(crate) fn parse(url: &str, tls: &BusTls) -> Result<Self, BusError> {
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
        // `amqp://host/` names the empty virtual host, which no broker has.
        if uri.vhost.is_empty() {
            uri.vhost = "/".into();
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        let tls = match uri.scheme {
            AMQPScheme::AMQPS => Some(BrokerTls::new(tls).map_err(refuse)?),
            AMQPScheme::AMQP => None,
        };
        // A client certificate without a password is the login itself.
        let has_password = matches!(BusUrl::parse(url), Ok(BusUrl::Amqp(url)) if url.has_password());
        if tls.as_ref().is_some_and(|tls| tls.has_identity) && !has_password {
            uri.query.auth_mechanism.get_or_insert(SASLMechanism::External);
        }
        Ok(Self { uri, tls })
    }

    /// Connects once. `name` is what the broker's tools show for the connection.
    pub(crate) async fn connect(&self, name: String) -> lapin::Result<Connection> {
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let Some(tls) = self.tls.clone() else {
            return Connection::connect_uri(self.uri.clone(), properties).await;
        };
        let runtime = lapin::runtime::default_runtime()?;
        // lapin's own way adds `ca_file` to the system's authorities; here it stands instead of them.
        let connect = async move |uri: AMQPUri, runtime| {
            let authority = &uri.authority;
            let addresses = tokio::net::lookup_host((authority.host.as_str(), authority.port)).await?;
            let stream = AsyncTcpStream::connect(&runtime, addresses.collect::<Vec<_>>()).await?;
            let name = tls.server_name.as_deref().unwrap_or(&authority.host);
            Ok(stream.into_rustls(tls.connector(), name).await?)
        };
        Connection::connector(self.uri.clone(), runtime, connect, properties).await
    }

    /// Who logs in, for the sentence "it refuses the login of …; check …".
    pub(crate) fn login(&self) -> (String, &'static str) {
        if self.uri.query.auth_mechanism == Some(SASLMechanism::External) {
            let who = "the client certificate of `cert_file`".to_owned();
            (who, "that the broker has the plugin rabbitmq_auth_mechanism_ssl and a user named as the certificate")
        } else {
            (
                format!("user {:?}", self.uri.authority.userinfo.username),
                "the user in the URL of the bus and the password there or in `password_file`",
            )
        }
    }

    /// What a failure to connect means where TLS is in it, or should not be.
    pub(crate) fn explain(&self, error: &lapin::Error) -> Option<String> {
        broker_tls::explain(error, self.tls.as_ref())
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = &self.uri.authority;
        write!(f, "{}://{}:{}", self.uri.scheme, authority.host, authority.port)?;
        if self.uri.vhost != "/" {
            write!(f, "/{}", self.uri.vhost)?;
        }
        Ok(())
    }
}

impl fmt::Debug for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BrokerAddress({self})")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn nothing_shows_the_password() {
        let endpoint = BrokerAddress::parse("amqp://me:s3cret@broker:1234/farm", &BusTls::default()).unwrap();
        assert_eq!(endpoint.to_string(), "amqp://broker:1234/farm");
        assert!(!format!("{endpoint:?}").contains("s3cret"));
        for bad in ["http://me:s3cret@broker", "amqp:me:s3cret@broker", "me:s3cret@broker", "amqp://me:s3cret@bro ker"]
        {
            let error = BrokerAddress::parse(bad, &BusTls::default()).unwrap_err().to_string();
            assert!(!error.contains("s3cret") && error.contains("amqp://USER"), "{error}");
        }
    }

    #[test]
    fn defaults_are_filled_in() {
        let uri = |url: &str| BrokerAddress::parse(url, &BusTls::default()).unwrap().uri;
        assert_eq!(uri("amqp://broker").query.heartbeat, Some(HEARTBEAT_SECONDS));
        assert_eq!(uri("amqp://broker?heartbeat=3").query.heartbeat, Some(3));
        assert_eq!((uri("amqp://broker").vhost, uri("amqp://broker/").vhost), ("/".into(), "/".into()));
        assert_eq!(uri("amqp://broker/%2f").vhost, "/");
        assert!(BrokerAddress::parse("amqp://[::1]:5672", &BusTls::default()).is_err());
    }
}
