//! TLS towards the broker: which authorities the host trusts, what it shows, and what the failures mean.

use std::fmt;
use std::io;
use std::sync::Arc;

use lapin::ErrorKind;
use lapin::tcp::RustlsConnector;
use mshost_bus::BusTls;
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore};

/// How to open TLS to one broker. `Debug` shows nothing of it.
#[derive(Clone)]
pub(crate) struct BrokerTls {
    connector: RustlsConnector,
    /// The name in the broker's certificate, where it is not the host of the URL.
    pub(crate) server_name: Option<String>,
    has_own_authorities: bool,
    pub(crate) has_identity: bool,
}

impl BrokerTls {
    /// Reads the system's authorities, unless others are given.
    ///
    /// # Errors
    /// Why no connection could ever come about with these settings, as a sentence.
    pub(crate) fn new(settings: &BusTls) -> Result<Self, String> {
        let roots = match &settings.authorities {
            Some(authorities) => store(authorities),
            None => store(&rustls_native_certs::load_native_certs().certs),
        };
        if roots.is_empty() {
            return Err("this machine trusts no certificate authority at all; install its `ca-certificates`, or set \
                        `ca_file` in [bus]"
                .into());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let config = match &settings.identity {
            Some(identity) => config
                .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
                .map_err(|error| format!("`cert_file` and `key_file` in [bus] cannot be used: {error}"))?,
            None => config.with_no_client_auth(),
        };
        Ok(Self {
            connector: config.into(),
            server_name: settings.server_name.clone(),
            has_own_authorities: settings.authorities.is_some(),
            has_identity: settings.identity.is_some(),
        })
    }

    /// What opens TLS on a stream.
    pub(crate) fn connector(&self) -> &RustlsConnector {
        &self.connector
    }

    /// What a TLS failure means and which key to look at.
    fn explain(&self, error: &Error) -> String {
        match error {
            Error::InvalidCertificate(error) => self.explain_certificate(error),
            Error::AlertReceived(alert) => self.explain_alert(*alert),
            Error::InvalidMessage(_) => {
                "it does not speak TLS on this port; check the port in the URL of the bus (RabbitMQ's for TLS is 5671), \
                 or write `amqp://` where no TLS is wanted"
                    .into()
            }
            other => format!("TLS failed: {other}"),
        }
    }

    /// In TLS 1.3 a broker judges a client's certificate after the handshake, and its alert is lost where its reset
    /// overtakes it.
    fn advice_on_reset(&self) -> &'static str {
        if self.has_identity {
            "check that it trusts the certificate of `cert_file` in [bus]"
        } else {
            "if it wants a certificate from its clients, set `cert_file` and `key_file` in [bus]"
        }
    }

    fn explain_certificate(&self, error: &CertificateError) -> String {
        match error {
            CertificateError::UnknownIssuer if self.has_own_authorities => {
                "no authority of `ca_file` in [bus] has signed its certificate; check that this is the broker's authority"
                    .into()
            }
            CertificateError::UnknownIssuer => {
                "no authority that this machine trusts has signed its certificate; set `ca_file` in [bus] to the PEM \
                 file of the broker's authority"
                    .into()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("its certificate is no longer valid; renew it on the broker ({error})")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                format!("its certificate is not valid yet; check the clocks of both machines ({error})")
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
                "its certificate is for another name; check the host in the URL of the bus, or set `server_name` in [bus] \
                 to a name of the certificate ({error})"
            ),
            other => format!("its certificate cannot be trusted: {other}"),
        }
    }

    fn explain_alert(&self, alert: AlertDescription) -> String {
        let is_about_us = matches!(
            alert,
            AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
        );
        match (alert, self.has_identity) {
            (AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure, false) => format!(
                "it wants a certificate from its clients; set `cert_file` and `key_file` in [bus] (TLS alert {alert:?})"
            ),
            (_, true) if is_about_us => format!(
                "it refuses the certificate of `cert_file` in [bus]; check that it is valid and that the broker trusts \
                 its authority (TLS alert {alert:?})"
            ),
            _ => format!("it ended the TLS handshake (TLS alert {alert:?}); its log says why"),
        }
    }
}

fn store(certificates: &[rustls::pki_types::CertificateDer<'static>]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    // The system's may hold some that are of no use; those of `ca_file` were checked one by one.
    store.add_parsable_certificates(certificates.iter().cloned());
    store
}

/// What a failure to connect means where TLS is in it, or should be; `None` for other failures.
pub(crate) fn explain(error: &lapin::Error, tls: Option<&BrokerTls>) -> Option<String> {
    const WRONG_PORT: &str = "if this is the broker's TLS port (RabbitMQ's is 5671), write `amqps://`";
    match (error.kind(), tls) {
        (ErrorKind::IOError(error), Some(tls)) => match tls_error(error) {
            Some(error) => Some(tls.explain(error)),
            None => is_reset(error).then(|| hung_up(error, tls.advice_on_reset())),
        },
        (ErrorKind::IOError(error), None) => is_reset(error).then(|| hung_up(error, WRONG_PORT)),
        (ErrorKind::ParsingError(_), None) => Some(format!("it does not answer in AMQP on this port; {WRONG_PORT}")),
        _ => None,
    }
}

fn is_reset(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

fn hung_up(error: &io::Error, advice: &str) -> String {
    format!("it ended the connection instead of answering ({error}); {advice}")
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    let inner = error.get_ref()?;
    inner.downcast_ref::<Error>().or_else(|| tls_error(inner.downcast_ref::<io::Error>()?))
}

impl fmt::Debug for BrokerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerTls").finish_non_exhaustive()
    }
}
