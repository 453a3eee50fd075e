//! TLS with libpq's meaning of `sslmode`, on rustls with ring.
//!
//! Where libpq and webpki differ on what a good certificate is, libpq's users are served: a
//! self-signed server certificate that is in the root file itself is trusted (webpki refuses a CA
//! as a server's certificate), and a certificate that names no DNS name is matched by its common
//! name (webpki looks at alternative names only).

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::{PrintableStringRef, Utf8StringRef};
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::error::PgError;
use super::params::{ClientCert, RootCert, SslMode, TlsParams};

/// Makes what the client library wraps a connection in. Reads the certificate files.
pub(super) fn connector(params: &TlsParams) -> Result<MakeRustlsConnect, PgError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions: &[_] = match (params.allow_12, params.allow_13) {
        (true, false) => &[&rustls::version::TLS12],
        (false, _) => &[&rustls::version::TLS13],
        (true, true) => rustls::DEFAULT_VERSIONS,
    };
    let verifier = Verifier { check: check(params)?, provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| PgError::parameter("sslmode", error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match params.client.as_ref().filter(|client| client.cert.exists()) {
        Some(client) => {
            let certs = certificates("client certificate", &client.cert)?;
            builder.with_client_auth_cert(certs, private_key(client)?).map_err(|error| {
                file("client certificate", &client.cert, error.to_string(), None)
            })?
        }
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = params.sni;
    if params.direct {
        // A server refuses a direct handshake that does not name the protocol.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(MakeRustlsConnect::new(config))
}

/// What is asked of a server's certificate.
#[derive(Debug)]
enum Check {
    /// Nothing.
    Nothing,
    /// That it comes from one of these roots, and perhaps that it is for the host.
    Roots { roots: RootCertStore, exact: Vec<CertificateDer<'static>>, name: bool },
}

fn check(params: &TlsParams) -> Result<Check, PgError> {
    let name = params.mode == SslMode::VerifyFull;
    let certs = match &params.root {
        RootCert::System => {
            let found = rustls_native_certs::load_native_certs();
            if found.certs.is_empty() {
                let problem = "the system has no root certificates";
                return Err(PgError::parameter("sslrootcert", problem));
            }
            found.certs
        }
        RootCert::File(path) if path.exists() => certificates("root certificate file", path)?,
        RootCert::File(path) if params.mode >= SslMode::VerifyCa => {
            let problem = "it does not exist".to_owned();
            return Err(file("root certificate file", path, problem, None));
        }
        RootCert::None if params.mode >= SslMode::VerifyCa => {
            let problem = "none is given, and there is no home directory to look for one";
            return Err(PgError::parameter("sslrootcert", problem));
        }
        RootCert::File(_) | RootCert::None => return Ok(Check::Nothing),
    };
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(certs.iter().cloned());
    if taken == 0 {
        let problem = "none of its certificates can be used as a root";
        return Err(PgError::parameter("sslrootcert", problem));
    }
    Ok(Check::Roots { roots, exact: certs, name })
}

fn certificates(kind: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, PgError> {
    let text = read(kind, path)?;
    let certs = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| file(kind, path, error.to_string(), None))?;
    if certs.is_empty() {
        return Err(file(kind, path, "it holds no certificate in PEM".to_owned(), None));
    }
    Ok(certs)
}

/// libpq's rule for the key file: others may not read it, but root's file may be read by its
/// group.
fn private_key(client: &ClientCert) -> Result<PrivateKeyDer<'static>, PgError> {
    const KIND: &str = "private key file";
    let path = &client.key;
    let facts =
        fs::metadata(path).map_err(|error| file(KIND, path, error.to_string(), Some(error)))?;
    let forbidden = if facts.uid() == 0 { 0o037 } else { 0o077 };
    if facts.permissions().mode() & forbidden != 0 {
        return Err(file(KIND, path, "group or world has access to it".to_owned(), None));
    }
    let text = read(KIND, path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        file(KIND, path, "it holds no unencrypted private key in PEM".to_owned(), None)
    })
}

fn read(kind: &'static str, path: &Path) -> Result<Vec<u8>, PgError> {
    fs::read(path).map_err(|error| file(kind, path, error.to_string(), Some(error)))
}

fn file(
    kind: &'static str,
    path: &Path,
    problem: String,
    source: Option<std::io::Error>,
) -> PgError {
    PgError::File { kind, path: path.to_owned(), problem, source }
}

#[derive(Debug)]
struct Verifier {
    check: Check,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Check::Roots { roots, exact, name } = &self.check else {
            return Ok(ServerCertVerified::assertion());
        };
        let parsed = ParsedCertificate::try_from(end_entity)?;
        if exact.iter().any(|root| root == end_entity) {
            in_date(end_entity, now)?;
        } else {
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                roots,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            )?;
        }
        if *name && let Err(error) = verify_server_name(&parsed, server_name) {
            let matches = match server_name {
                ServerName::DnsName(host) => common_name_matches(end_entity, host.as_ref()),
                _ => false,
            };
            if !matches {
                return Err(error);
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    // These prove that the server holds the certificate's key, whatever the certificate is worth.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn in_date(cert: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let cert = Certificate::from_der(cert).map_err(|_| CertificateError::BadEncoding)?;
    let validity = &cert.tbs_certificate.validity;
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// libpq's rule: the common name counts if there is no alternative name of the DNS kind.
fn common_name_matches(cert: &CertificateDer<'_>, host: &str) -> bool {
    let Ok(cert) = Certificate::from_der(cert) else { return false };
    match cert.tbs_certificate.get::<SubjectAltName>() {
        Ok(None) => {}
        Ok(Some((_, names))) => {
            if names
                .0
                .iter()
                .any(|name| matches!(name, GeneralName::DnsName(_) | GeneralName::IpAddress(_)))
            {
                return false;
            }
        }
        Err(_) => return false,
    }
    let attributes = cert.tbs_certificate.subject.0.iter().flat_map(|set| set.0.iter());
    attributes.filter(|attribute| attribute.oid == COMMON_NAME).any(|attribute| {
        let value = &attribute.value;
        let text = value.decode_as::<Utf8StringRef<'_>>().map(|s| s.as_str().to_owned());
        let text = text.or_else(|_| {
            value.decode_as::<PrintableStringRef<'_>>().map(|s| s.as_str().to_owned())
        });
        text.is_ok_and(|pattern| name_matches(&pattern, host))
    })
}

/// A leading `*.` stands for one label.
fn name_matches(pattern: &str, host: &str) -> bool {
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    let Some(suffix) = pattern.strip_prefix("*.") else { return false };
    host.split_once('.').is_some_and(|(label, rest)| {
        !label.is_empty() && suffix.contains('.') && rest.eq_ignore_ascii_case(suffix)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards against a wildcard that stands for more than one label, or for everything.
    #[test]
    fn wildcards_stand_for_one_label() {
        assert!(name_matches("DB.example.org", "db.example.org"));
        assert!(name_matches("*.example.org", "db.example.org"));
        assert!(!name_matches("*.example.org", "a.b.example.org"));
        assert!(!name_matches("*.example.org", "example.org"));
        assert!(!name_matches("*.org", "example.org"));
        assert!(!name_matches("*", "example"));
    }
}
