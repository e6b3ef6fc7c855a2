//! Certificates: our own authority, made at the first start and kept, or files that somebody else made.
//!
//! ```text
//!   DIR/tls/authority.pem   key and certificate of the authority, for the owner only
//!   DIR/tls/ca.pem          the certificate alone, for clients
//! ```
//!
//! The broker's own certificate is made at each start for the names that it goes by, and for each address that a client
//! reaches it at.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate that somebody else made: files in PEM, the certificate first and then those that signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain.
    pub certificate: PathBuf,
    /// The key of its first certificate.
    pub key: PathBuf,
}

/// What a TLS listener shows to its clients.
pub(crate) enum Identity {
    /// A certificate from files.
    Given(Arc<ServerConfig>),
    /// Certificates of our own authority, by the address that the client reached.
    Own { authority: Authority, names: Vec<String>, by_address: Mutex<HashMap<IpAddr, Arc<ServerConfig>>> },
}

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, for clients.
    pub pem: String,
}

fn other(e: impl std::fmt::Display) -> io::Error {
    io::Error::other(e.to_string())
}

/// A hundred years: who wants certificates that expire brings their own.
fn params(names: Vec<SanType>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(2124, 1, 1);
    params.subject_alt_names = names;
    params
}

fn authority_params() -> CertificateParams {
    let mut params = params(vec![]);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "deltamill local authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    /// Reads the authority of a directory, or makes one; without a directory it lasts as long as the process.
    fn open(dir: Option<&Path>) -> io::Result<Authority> {
        let text = match dir.map(|d| fs::read_to_string(d.join("authority.pem"))) {
            Some(Ok(text)) => text,
            Some(Err(e)) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {
                let key = KeyPair::generate().map_err(other)?;
                let certificate = authority_params().self_signed(&key).map_err(other)?;
                key.serialize_pem() + &certificate.pem()
            }
        };
        let begins = text.find("-----BEGIN CERTIFICATE-----");
        let (key, pem) = text.split_at(begins.ok_or_else(|| other("authority.pem has no certificate"))?);
        let issuer = Issuer::new(authority_params(), KeyPair::from_pem(key).map_err(other)?);
        if let Some(dir) = dir {
            fs::create_dir_all(dir)?;
            write(dir, "authority.pem", 0o600, &text)?;
            write(dir, "ca.pem", 0o644, pem)?;
        }
        Ok(Authority { issuer, pem: pem.to_string() })
    }

    /// A certificate for these names and this address.
    fn issue(&self, names: &[String], address: IpAddr) -> io::Result<Arc<ServerConfig>> {
        let mut all = vec![SanType::IpAddress(address)];
        for name in names {
            all.push(match name.parse::<IpAddr>() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) => SanType::DnsName(name.as_str().try_into().map_err(other)?),
            });
        }
        let mut params = params(all);
        params.distinguished_name.push(DnType::CommonName, "deltamill");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(other)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(other)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(other)?;
        config(vec![certificate.der().clone()], key)
    }
}

/// Writes a file whole or not at all; one that is there already and the same is left alone.
fn write(dir: &Path, name: &str, mode: u32, text: &str) -> io::Result<()> {
    let path = dir.join(name);
    if fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let part = dir.join(format!("{name}.part"));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&part, &path)?;
    fs::File::open(dir)?.sync_all()
}

fn config(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> io::Result<Arc<ServerConfig>> {
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(other)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(other)?;
    Ok(Arc::new(config))
}

impl Identity {
    /// Reads the files, or opens the authority below a directory. `host`: the name that clients are told, if it is fixed.
    pub fn open(
        files: Option<&CertificateFiles>,
        dir: Option<&Path>,
        host: Option<&str>,
    ) -> io::Result<Identity> {
        let Some(files) = files else {
            let mut names = vec!["localhost".to_string(), "127.0.0.1".into(), "::1".into()];
            names.extend(host.map(str::to_string));
            let authority = Authority::open(dir.map(|d| d.join("tls")).as_deref())?;
            return Ok(Identity::Own { authority, names, by_address: Mutex::default() });
        };
        let named = |path: &Path, e: &dyn std::fmt::Display| other(format!("{}: {e}", path.display()));
        let chain = CertificateDer::pem_file_iter(&files.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|e| named(&files.certificate, &e))?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| named(&files.key, &e))?;
        Ok(Identity::Given(config(chain, key).map_err(|e| named(&files.certificate, &e))?))
    }

    /// What a client that came to this address is shown.
    pub fn at(&self, address: IpAddr) -> io::Result<Arc<ServerConfig>> {
        match self {
            Identity::Given(config) => Ok(Arc::clone(config)),
            Identity::Own { authority, names, by_address } => {
                let mut by_address = by_address.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(config) = by_address.get(&address) {
                    return Ok(Arc::clone(config));
                }
                let config = authority.issue(names, address)?;
                by_address.insert(address, Arc::clone(&config));
                Ok(config)
            }
        }
    }

    /// The certificate that clients must trust, if it is ours.
    pub fn authority(&self) -> Option<&str> {
        match self {
            Identity::Given(_) => None,
            Identity::Own { authority, .. } => Some(&authority.pem),
        }
    }
}
