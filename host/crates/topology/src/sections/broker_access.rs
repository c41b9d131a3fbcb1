//! Reads how a broker is reached besides its URL: the TLS files and the password file of `[bus]`.
//!
//! What these files hold is read once, checked here, and never shown: errors name the file and what is wrong with it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mshost_bus::{AmqpUrl, BusTls, BusUrl, Identity};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};

use crate::declaration::ReadableKind as _;
use crate::diagnostics::Diagnostic;
use crate::files;
use crate::keys::bus;
use crate::kinds::PathKind;
use crate::table_reader::TableReader;
use crate::value_node::ValueNode;

/// Reads the keys of `[bus]`. `url` is `None` where it is set and wrong: then the keys are judged on their own.
pub(crate) fn read(table: &mut TableReader<'_, '_>, url: Option<&mut BusUrl>) -> BusTls {
    let [ca, cert, key] = [&bus::CA_FILE, &bus::CERT_FILE, &bus::KEY_FILE].map(|file| table.node(file));
    let name = table.node(&bus::SERVER_NAME);
    if let Some(url) = url.as_deref().filter(|url| !uses_tls(url)) {
        for node in [ca, cert, key, name].iter().flatten() {
            let message = format!("`{}` has no use: the bus is `{url}`, which has no TLS", node.key);
            let help =
                Some("write an `amqps://` URL (RabbitMQ's port for it is 5671), or leave the key out".to_owned());
            let _: Option<()> = node.refuse(message, "only for `amqps://`", help);
        }
    }
    let authorities = ca.and_then(|node| authorities(&node));
    let identity = identity(cert, key);
    let server_name = name.and_then(|node| bus::SERVER_NAME.kind.read(&node));
    if let Some(node) = table.node(&bus::PASSWORD_FILE) {
        let password = password(&node);
        if let (Some(url), Some(password)) = (url, password) {
            set_password(&node, url, &password);
        }
    }
    BusTls { authorities, identity, server_name }
}

fn uses_tls(url: &BusUrl) -> bool {
    matches!(url, BusUrl::Amqp(url) if url.is_tls())
}

fn authorities(node: &ValueNode<'_, '_>) -> Option<Vec<CertificateDer<'static>>> {
    let (path, pem) = contents(node)?;
    let found = certificates(node, &path, &pem)?;
    let mut store = RootCertStore::empty();
    for (index, certificate) in found.iter().enumerate() {
        if let Err(error) = store.add(certificate.clone()) {
            let message = format!("certificate {} of the file of `ca_file` is broken: {error}", index + 1);
            return node.refuse(message, "cannot be trusted", looked_at(&path));
        }
    }
    Some(found)
}

fn identity(cert: Option<ValueNode<'_, '_>>, key: Option<ValueNode<'_, '_>>) -> Option<Identity> {
    let chain = cert.and_then(|node| {
        let (path, pem) = contents(&node)?;
        let chain = certificates(&node, &path, &pem)?;
        match ParsedCertificate::try_from(&chain[0]) {
            Ok(_) => Some(chain),
            Err(error) => {
                let message = format!("the certificate in the file of `cert_file` is broken: {error}");
                node.refuse(message, "cannot be used", looked_at(&path))
            }
        }
    });
    let private = key.and_then(|node| {
        let (path, pem) = secret(&node)?;
        PrivateKeyDer::from_pem_slice(&pem).map_or_else(
            |_| {
                let help =
                    "expected `-----BEGIN PRIVATE KEY-----` (or `RSA` or `EC PRIVATE KEY`), without a passphrase";
                let help = Some(format!("{help}; looked in {}", path.display()));
                node.refuse("there is no private key in the file of `key_file`", "no PEM private key", help)
            },
            Some,
        )
    });
    match (cert, key) {
        (Some(node), None) => alone(&node, "key_file"),
        (None, Some(node)) => alone(&node, "cert_file"),
        (Some(cert), Some(key)) => paired(&cert, &key, chain?, private?),
        (None, None) => None,
    }
}

fn alone<T>(node: &ValueNode<'_, '_>, other: &str) -> Option<T> {
    let help = Some(format!("a client certificate needs both: add `{other}`, or leave `{}` out", node.key));
    node.refuse(format!("`{}` is set, but `{other}` is not", node.key), format!("there is no `{other}`"), help)
}

fn paired(
    cert: &ValueNode<'_, '_>,
    key: &ValueNode<'_, '_>,
    chain: Vec<CertificateDer<'static>>,
    private: PrivateKeyDer<'static>,
) -> Option<Identity> {
    let provider = rustls::crypto::ring::default_provider();
    match CertifiedKey::from_der(chain.clone(), private.clone_key(), &provider) {
        Ok(_) => Some(Identity { chain, key: Arc::new(private) }),
        Err(error) => {
            let is_other = matches!(error, rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch));
            let (message, label) = if is_other {
                ("the key of `key_file` is not that of the first certificate of `cert_file`", "of another certificate")
            } else {
                ("the key of `key_file` cannot be used", "expected an RSA, ECDSA or Ed25519 key")
            };
            let found = Diagnostic::error(message).at(key.span(), label).also(cert.span(), "the certificate");
            key.cx.report(found.help("in `cert_file`, the client's own certificate stands first"));
            None
        }
    }
}

/// The certificates of a PEM file; reports where there are none.
fn certificates(node: &ValueNode<'_, '_>, path: &Path, pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
        Ok(found) if !found.is_empty() => Some(found),
        Ok(_) => {
            let message = format!("there is no certificate in the file of `{}`", node.key);
            let help = format!("expected PEM, `-----BEGIN CERTIFICATE-----`; looked in {}", path.display());
            node.refuse(message, "no PEM certificate", Some(help))
        }
        Err(_) => {
            let message = format!("the PEM in the file of `{}` is broken", node.key);
            node.refuse(message, "broken PEM", looked_at(path))
        }
    }
}

fn password(node: &ValueNode<'_, '_>) -> Option<String> {
    let (path, bytes) = secret(node)?;
    let Ok(password) = String::from_utf8(bytes) else {
        return node.refuse("the file of `password_file` is not UTF-8 text", "not text", looked_at(&path));
    };
    // Editors end a file with a newline, which is not meant to be part of a password.
    let password = password.strip_suffix('\n').unwrap_or(&password);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return node.refuse("the file of `password_file` is empty", "no password in it", looked_at(&path));
    }
    if password.contains(['\n', '\r']) {
        return node.refuse(
            "the file of `password_file` has more than one line",
            "expected one line, the password",
            looked_at(&path),
        );
    }
    Some(password.to_owned())
}

fn set_password(node: &ValueNode<'_, '_>, url: &mut BusUrl, password: &str) {
    let refused: Result<AmqpUrl, _> = match url {
        BusUrl::Embedded => Err(("the embedded bus has no password", "leave `password_file` out, or set `url`")),
        BusUrl::Amqp(url) if url.has_password() => {
            Err(("there is a password in the URL of the bus and a `password_file`", "leave one of them out"))
        }
        BusUrl::Amqp(url) => url.with_password(password).ok_or((
            "`password_file` is set, but the URL of the bus names no user",
            "write `amqps://USER@HOST`: it is the password of that user",
        )),
    };
    match refused {
        Ok(with_password) => *url = BusUrl::Amqp(with_password),
        Err((message, help)) => {
            let _: Option<()> = node.refuse(message, "cannot be used", Some(help.to_owned()));
        }
    }
}

/// A file that only the host should be able to read.
fn secret(node: &ValueNode<'_, '_>) -> Option<(PathBuf, Vec<u8>)> {
    let (path, bytes) = contents(node)?;
    if fs::metadata(&path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0) {
        let warning = Diagnostic::warning(format!("every user of this machine can read the file of `{}`", node.key));
        let help = format!("`chmod o-r {}`, with the host's user as its owner or group", path.display());
        node.cx.report(warning.at(node.span(), "world-readable").help(help));
    }
    Some((path, bytes))
}

/// What the file that a key names holds. The file is watched even where it cannot be read: it may come.
fn contents(node: &ValueNode<'_, '_>) -> Option<(PathBuf, Vec<u8>)> {
    let path = PathKind.read(node)?;
    node.cx.note_file(path.clone());
    match files::read_bytes(&path) {
        Ok(bytes) => Some((path, bytes)),
        Err(error) => {
            let label = if error.kind() == io::ErrorKind::NotFound { "no such file" } else { "cannot be read" };
            node.refuse(format!("`{}` cannot be read: {error}", node.key), label, looked_at(&path))
        }
    }
}

fn looked_at(path: &Path) -> Option<String> {
    Some(format!("looked at {}", path.display()))
}
