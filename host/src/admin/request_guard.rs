//! Guards the admin server against requests of foreign pages and without a token. It answers on loopback, where every page in the user's browser can reach it too.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::http::uri::Authority;

/// Why a request is refused, in words for the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RequestRefusal {
    /// Its `Host` or `Origin` shows that a foreign web page sent it (403).
    Foreign(&'static str),
    /// Its token is missing or wrong (401).
    Token,
}

/// What a request must show.
#[derive(Debug)]
pub(super) struct RequestGuard {
    loopback_only: bool,
    token: Option<String>,
}

impl RequestGuard {
    pub(super) fn new(bound_to: SocketAddr, token: Option<String>) -> Self {
        Self { loopback_only: bound_to.ip().is_loopback(), token }
    }

    /// `open` requests (the probes of an orchestrator) need no token.
    pub(super) fn check(&self, headers: &HeaderMap, open: bool) -> Result<(), RequestRefusal> {
        let host = authority(headers, HOST);
        // DNS rebinding: a page from evil.example, whose name now points to 127.0.0.1, still says `Host: evil.example`.
        if self.loopback_only && !host.as_ref().is_some_and(is_loopback) {
            return Err(RequestRefusal::Foreign("the Host header must name localhost, 127.0.0.1 or [::1]"));
        }
        // Cross-site requests: a page from evil.example may post to 127.0.0.1, but has to say where it comes from.
        if let Some(origin) = headers.get(ORIGIN) {
            let origin = origin.to_str().ok().and_then(|text| text.split_once("://")).map(|(_, rest)| rest);
            if origin.and_then(|text| text.parse::<Authority>().ok()) != host {
                return Err(RequestRefusal::Foreign("requests from pages of another origin are refused"));
            }
        }
        match &self.token {
            Some(token) if !open && !shows(headers, token) => Err(RequestRefusal::Token),
            _ => Ok(()),
        }
    }
}

fn authority(headers: &HeaderMap, name: HeaderName) -> Option<Authority> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn shows(headers: &HeaderMap, token: &str) -> bool {
    let Some(given) = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer ")) else {
        return false;
    };
    // Takes the same time wherever the first difference is.
    given.len() == token.len() && given.iter().zip(token.as_bytes()).fold(0, |acc, (a, b)| acc | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    fn guard(bound_to: &str, token: Option<&str>) -> RequestGuard {
        RequestGuard::new(bound_to.parse().unwrap(), token.map(str::to_owned))
    }

    #[test]
    fn on_loopback_only_loopback_names_are_served() {
        let guard = guard("127.0.0.1:9091", None);
        for host in ["localhost:9091", "LOCALHOST", "127.0.0.1:9091", "127.0.0.2", "[::1]:9091"] {
            assert_eq!(guard.check(&headers(&[(HOST, host)]), false), Ok(()), "{host}");
        }
        for host in ["evil.example:9091", "localhost.evil.example", "127.0.0.1.nip.io", "10.0.0.1", ""] {
            assert!(guard.check(&headers(&[(HOST, host)]), false).is_err(), "{host}");
        }
        assert!(guard.check(&HeaderMap::new(), false).is_err(), "no Host header");
    }

    #[test]
    fn pages_of_another_origin_are_refused() {
        let guard = guard("127.0.0.1:9091", None);
        let from = |origin| guard.check(&headers(&[(HOST, "localhost:9091"), (ORIGIN, origin)]), false);
        assert_eq!(from("http://localhost:9091"), Ok(()));
        for origin in ["http://evil.example", "http://localhost:8080", "null"] {
            assert!(from(origin).is_err(), "{origin}");
        }
    }

    #[test]
    fn a_token_is_asked_of_everything_but_the_probes() {
        let guard = guard("0.0.0.0:9091", Some("secret"));
        let with = |value| guard.check(&headers(&[(HOST, "example.org"), (AUTHORIZATION, value)]), false);
        assert_eq!(with("Bearer secret"), Ok(()));
        for value in ["Bearer secreT", "Bearer ", "secret", "Basic secret"] {
            assert_eq!(with(value), Err(RequestRefusal::Token), "{value}");
        }
        assert_eq!(guard.check(&headers(&[(HOST, "example.org")]), true), Ok(()));
    }
}
