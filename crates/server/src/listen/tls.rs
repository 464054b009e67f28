//! TLS 1.2 and 1.3 by rustls, from two PEM files.

use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::error::ServerError;
use crate::options::TlsFiles;

/// Reads the files.
///
/// # Errors
/// They cannot be read, or do not belong to each other.
pub(crate) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, ServerError> {
    let wrong = |path: &Path, reason: String| ServerError::Tls { path: path.to_owned(), reason };
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(&files.certificates)
            .and_then(Iterator::collect)
            .map_err(|error| wrong(&files.certificates, error.to_string()))?;
    if certificates.is_empty() {
        let reason = "it has no certificate (PEM: -----BEGIN CERTIFICATE-----)";
        return Err(wrong(&files.certificates, reason.to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| wrong(&files.key, error.to_string()))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|error| wrong(&files.key, error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
