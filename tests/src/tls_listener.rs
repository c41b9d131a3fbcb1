//! What makes a private broker listen with TLS.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// What a broker shows to TLS clients and wants from them, in PEM.
#[derive(Debug, Clone)]
pub struct TlsListener {
    /// Its certificate.
    pub certificate: String,
    /// The certificate's key.
    pub key: String,
    /// The authority that clients' certificates must be of.
    pub client_authority: String,
    /// Whether it turns away clients without a certificate.
    pub demands_certificate: bool,
}

impl TlsListener {
    /// Writes the files into the folder of a broker that has not been started yet.
    pub(crate) fn write(&self, dir: &Path, address: SocketAddr) {
        let file = |name: &str, text: &str| {
            let path = dir.join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let authority = file("ca.pem", &self.client_authority);
        let certificate = file("server.pem", &self.certificate);
        let key = file("server.key", &self.key);
        let demands = self.demands_certificate;
        let verify = if demands { "verify_peer" } else { "verify_none" };
        let conf = format!(
            "listeners.ssl.1 = {address}\n\
             ssl_options.cacertfile = {authority}\n\
             ssl_options.certfile = {certificate}\n\
             ssl_options.keyfile = {key}\n\
             ssl_options.verify = {verify}\n\
             ssl_options.fail_if_no_peer_cert = {demands}\n\
             ssl_cert_login_from = common_name\n\
             auth_mechanisms.1 = PLAIN\n\
             auth_mechanisms.2 = EXTERNAL\n"
        );
        file("rabbitmq.conf", &conf);
        file("enabled_plugins", "[rabbitmq_auth_mechanism_ssl].");
    }
}
