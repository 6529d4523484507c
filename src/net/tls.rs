//! One way to TLS: rustls with ring, certificates always checked, and remembered for reports.

use crate::files;
use chrono::{DateTime, Utc};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Why there is no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The CA file cannot be read or holds no certificate.
    #[error("cannot read CA certificates from `{path}`: {reason}")]
    CaFile {
        /// The configured `ca_file`.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// rustls refuses the configuration.
    #[error("cannot set up TLS: {0}")]
    Rustls(String),
}

/// A TLS client configuration for one endpoint, and the certificate that the endpoint showed last.
#[derive(Debug, Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    seen: Arc<Mutex<Option<Certificate>>>,
}

/// What a report says of a server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Names and addresses that it is for (subjectAltName).
    pub names: Vec<String>,
    /// Who signed it.
    pub issuer: String,
    /// Start of its validity.
    pub not_before: DateTime<Utc>,
    /// End of its validity.
    pub not_after: DateTime<Utc>,
}

impl Tls {
    /// Trusts the CA certificates in `ca_file` (PEM) and no others, or else the public ones that are compiled in.
    ///
    /// # Errors
    /// A CA file that cannot be read, or that holds no certificate.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let roots = Arc::new(match ca_file {
            Some(path) => private_roots(path).map_err(|reason| TlsError::CaFile {
                path: path.to_owned(),
                reason,
            })?,
            None => RootCertStore {
                roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
            },
        });
        let inner = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| TlsError::Rustls(error.to_string()))?;
        let seen = Arc::new(Mutex::new(None));
        let verifier = Remembering {
            inner,
            seen: Arc::clone(&seen),
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Rustls(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Self {
            config: Arc::new(config),
            seen,
        })
    }

    /// For a connector.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// The certificate that the server showed last, valid or not; none before the first handshake.
    #[must_use]
    pub fn certificate(&self) -> Option<Certificate> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Makes ring the provider of everything in this process that asks rustls for a default.
pub fn install_crypto_provider() {
    // Fails only where one is installed already.
    let _ = CryptoProvider::install_default(ring::default_provider());
}

/// The CAs of a `ca_file`.
///
/// # Errors
/// What is wrong with the file.
pub fn private_roots(path: &Path) -> Result<RootCertStore, String> {
    let pem = files::read(path, files::LARGEST_CA_FILE).map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err("it holds no PEM certificate".to_owned());
    }
    Ok(roots)
}

/// Checks as rustls does by default, and keeps the certificate so that a report can name it.
#[derive(Debug)]
struct Remembering {
    inner: Arc<WebPkiServerVerifier>,
    seen: Arc<Mutex<Option<Certificate>>>,
}

impl ServerCertVerifier for Remembering {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = describe(end_entity);
        self.inner
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn describe(der: &CertificateDer<'_>) -> Option<Certificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate
        .subject_alternative_name()
        .ok()
        .flatten()
        .map(|extension| {
            extension
                .value
                .general_names
                .iter()
                .filter_map(name)
                .take(20)
                .collect()
        })
        .unwrap_or_default();
    Some(Certificate {
        names,
        issuer: certificate.issuer().to_string(),
        not_before: DateTime::from_timestamp(certificate.validity().not_before.timestamp(), 0)?,
        not_after: DateTime::from_timestamp(certificate.validity().not_after.timestamp(), 0)?,
    })
}

fn name(general: &GeneralName<'_>) -> Option<String> {
    match general {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(v4) => Some(std::net::Ipv4Addr::from(v4).to_string()),
            Err(_) => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|v6| std::net::Ipv6Addr::from(v6).to_string()),
        },
        _ => None,
    }
}

/// What is wrong with a server's certificate, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFault {
    /// One sentence, lower case.
    pub reason: String,
    /// What to do about it, naming the setting.
    pub hint: String,
    /// Names, dates and issuer of the certificate, and the name that was expected.
    pub evidence: Vec<String>,
}

/// Reads an error of a handshake; none where it did not fail on the certificate. `expected` is the name that the
/// certificate had to carry, `certificate` the one that was shown.
#[must_use]
pub fn certificate_fault(
    error: &(dyn std::error::Error + 'static),
    expected: &str,
    certificate: Option<&Certificate>,
) -> Option<CertificateFault> {
    use rustls::CertificateError as Fault;
    let fault = invalid_certificate(error)?;
    let evidence = certificate.map_or_else(Vec::new, |certificate| {
        vec![
            format!("names in the certificate: {}", certificate.names.join(", ")),
            format!(
                "valid from {} until {}",
                certificate.not_before.format("%Y-%m-%d %H:%M UTC"),
                certificate.not_after.format("%Y-%m-%d %H:%M UTC")
            ),
            format!("issuer: {}", certificate.issuer),
            format!("name expected: {expected}"),
        ]
    });
    let names = certificate.map_or_else(String::new, |one| one.names.join(", "));
    let (reason, hint) = match fault {
        Fault::NotValidForName | Fault::NotValidForNameContext { .. } => (
            format!("the certificate is for {names}, not for `{expected}`"),
            "set `tls_server_name` to the name that the certificate carries, or install a certificate for the name expected"
                .to_owned(),
        ),
        Fault::Expired | Fault::ExpiredContext { .. } => (
            certificate.map_or_else(
                || "the certificate has expired".to_owned(),
                |one| format!("the certificate expired on {}", one.not_after.format("%Y-%m-%d %H:%M UTC")),
            ),
            "renew the certificate, and reload the server".to_owned(),
        ),
        Fault::NotValidYet | Fault::NotValidYetContext { .. } => (
            "the certificate is not valid yet".to_owned(),
            "compare the clocks of this machine and of the server".to_owned(),
        ),
        Fault::UnknownIssuer => (
            "the certificate is signed by an authority that is not trusted".to_owned(),
            "set `ca_file` to the CA that signed it, or have the server send its intermediate certificates"
                .to_owned(),
        ),
        other => (
            format!("the certificate is not valid: {other}"),
            "install a certificate that is valid for the name expected".to_owned(),
        ),
    };
    Some(CertificateFault {
        reason,
        hint,
        evidence,
    })
}

/// The certificate error at the bottom of a chain of errors, if it is one.
fn invalid_certificate<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a rustls::CertificateError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(fault)) = error.downcast_ref() {
            return Some(fault);
        }
        // An io::Error hides what it wraps from `source`, and passes on the source of that instead. The HTTP client
        // wraps them in each other.
        let wrapped = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
