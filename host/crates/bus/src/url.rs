//! Where the bus is. A URL may hold a password, so none is ever shown whole.

use std::fmt;

/// What `[bus] url` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum BusUrl {
    /// The bus of this process.
    #[default]
    Embedded,
    /// A RabbitMQ broker.
    Amqp(AmqpUrl),
}

impl BusUrl {
    /// Reads `embedded` or an `amqp://` or `amqps://` URL.
    ///
    /// # Errors
    /// What is wrong with the text, without any of it that might be a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "embedded" {
            return Ok(Self::Embedded);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err("it has no scheme".to_owned());
        };
        if !matches!(scheme, "amqp" | "amqps") {
            // A scheme that is not one may be anything, a password too.
            let known = scheme.len() <= 16 && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
            return Err(if known { format!("the scheme is `{scheme}`") } else { "its scheme is none".to_owned() });
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("there is white space in it".to_owned());
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        if rest.len() > authority.len() && rest[authority.len()..].contains('@') && user.is_empty() {
            return Err("there is a `/`, `?` or `#` before the `@`; in a password write %2F, %3F or %23".to_owned());
        }
        if user.contains('@') {
            return Err("there is more than one `@`; in a password write %40".to_owned());
        }
        check_host(host)?;
        Ok(Self::Amqp(AmqpUrl(text.to_owned())))
    }
}

fn check_host(host_and_port: &str) -> Result<(), String> {
    let (host, port) = match host_and_port.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or("?"))),
            None => return Err("the `[` of its host has no `]`".to_owned()),
        },
        None => match host_and_port.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (host_and_port, None),
        },
    };
    if host.is_empty() {
        return Err("it has no host".to_owned());
    }
    match port {
        Some(port) if !port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Err("its port is not a number from 1 to 65535".to_owned())
        }
        _ => Ok(()),
    }
}

impl fmt::Display for BusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("embedded"),
            Self::Amqp(url) => url.fmt(f),
        }
    }
}

/// The URL of a broker. `Display` and `Debug` leave its password out; [`AmqpUrl::expose`] has it.
#[derive(Clone, PartialEq, Eq)]
pub struct AmqpUrl(String);

impl AmqpUrl {
    /// The URL with its password: for connecting, never for showing.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.starts_with("amqps://")
    }

    /// Whether there is a password in it.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.user().is_some_and(|user| user.contains(':'))
    }

    /// This URL with another password for its user; `None` where it names none.
    #[must_use]
    pub fn with_password(&self, password: &str) -> Option<Self> {
        let user = self.user().filter(|user| !user.is_empty())?;
        let (start, end) = self.0.split_at(self.0.find("://")? + "://".len() + user.len());
        let escaped: String = password.bytes().map(|byte| format!("%{byte:02X}")).collect();
        Some(Self(format!("{start}:{escaped}{end}")))
    }

    /// What stands before the `@`.
    /// The host in lower case, the port or that of the scheme, and the virtual host as it would be written.
    pub fn place(&self) -> (String, String, String) {
        let rest = self.0.split_once("://").map_or(&*self.0, |(_, rest)| rest);
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, vhost) = rest.split_once('/').unwrap_or((rest, ""));
        let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (address, if self.is_tls() { "5671" } else { "5672" }),
        };
        let vhost = match vhost {
            "" | "%2f" | "%2F" => "/",
            other => other,
        };
        (host.to_lowercase(), port.to_owned(), vhost.to_owned())
    }

    fn user(&self) -> Option<&str> {
        let (_, rest) = self.0.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        authority.rsplit_once('@').map(|(user, _)| user)
    }
}

impl fmt::Display for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What follows `?` may hold credentials as well.
        let url = self.0.split(['?', '#']).next().unwrap_or_default();
        let (scheme, rest) = url.split_once("://").unwrap_or(("amqp", url));
        match rest.rsplit_once('@') {
            Some((user, host)) => match user.split_once(':') {
                Some((user, _)) => write!(f, "{scheme}://{user}:***@{host}"),
                None => write!(f, "{scheme}://{user}@{host}"),
            },
            None => write!(f, "{scheme}://{rest}"),
        }
    }
}

impl fmt::Debug for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn urls() {
        assert_eq!(BusUrl::parse("embedded"), Ok(BusUrl::Embedded));
        for good in ["amqp://localhost", "amqp://u:p@h:5672/%2f?heartbeat=10", "amqps://[::1]:5671/v", "amqp://u@h"] {
            assert!(matches!(BusUrl::parse(good), Ok(BusUrl::Amqp(url)) if url.expose() == good), "{good}");
        }
        for (bad, why) in [
            ("localhost", "it has no scheme"),
            ("", "it has no scheme"),
            ("http://h", "the scheme is `http`"),
            ("pass word://h", "its scheme is none"),
            ("amqp://", "it has no host"),
            ("amqp://u:p@", "it has no host"),
            ("amqp://u:p@/v", "it has no host"),
            ("amqp://h:0", "its port is not a number from 1 to 65535"),
            ("amqp://h:x", "its port is not a number from 1 to 65535"),
            ("amqp://[::1", "the `[` of its host has no `]`"),
            ("amqp://[::1]x", "its port is not a number from 1 to 65535"),
            ("amqp://u:p w@h", "there is white space in it"),
            ("amqp://u:p@w@h", "there is more than one `@`; in a password write %40"),
            ("amqp://u:p/w@h", "there is a `/`, `?` or `#` before the `@`; in a password write %2F, %3F or %23"),
        ] {
            assert_eq!(BusUrl::parse(bad), Err(why.to_owned()), "{bad}");
        }
    }

    #[test]
    fn a_password_is_filled_in() {
        let url = |text: &str| match BusUrl::parse(text) {
            Ok(BusUrl::Amqp(url)) => url,
            other => panic!("{other:?}"),
        };
        let filled = url("amqps://me@h:1/v?heartbeat=1").with_password("a/:@%").unwrap();
        assert_eq!(filled.expose(), "amqps://me:%61%2F%3A%40%25@h:1/v?heartbeat=1");
        assert_eq!(filled.to_string(), "amqps://me:***@h:1/v");
        assert!(filled.has_password() && filled.is_tls());
        assert!(!url("amqp://me@h:1").has_password() && !url("amqp://h:1").is_tls());
        assert_eq!((url("amqp://h").with_password("p"), url("amqp://@h").with_password("p")), (None, None));
    }

    proptest! {
        #[test]
        fn the_password_is_never_shown(
            user in "[a-z]{1,8}", password in "PW[A-Za-z0-9:@/?#% ]{0,12}WP", tail in "(/v)?(\\?k=1)?",
        ) {
            let url = BusUrl::parse(&format!("amqp://{user}:{password}@host:5672{tail}"));
            let said = format!("{url:?}") + &url.as_ref().map_or_else(Clone::clone, ToString::to_string);
            prop_assert!(!said.contains("PW") && !said.contains("WP"), "{}", said);
        }
    }
}
