//! TLS: a client that trusts the certificate is answered, over both versions of HTTP; files that do
//! not fit are refused at the start.
//!
//! The certificate is self-signed, for `localhost` and 127.0.0.1, made with `openssl req -x509` for
//! this test alone.

use std::net::TcpListener as StdListener;
use std::path::PathBuf;
use std::sync::Arc;

use lucid_provider::scripted::Scripted;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::options::{Options, TlsFiles};
use crate::testing::{Shelf, site};

fn file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/tls")).join(name)
}

fn files() -> TlsFiles {
    TlsFiles { certificates: file("certificate.pem"), key: file("key.pem") }
}

#[tokio::test]
async fn a_client_that_trusts_the_certificate_is_answered() {
    let acceptor = crate::listen::acceptor(&files()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_told, mut heard) = watch::channel(0);
    tokio::spawn(async move {
        let site = site(Scripted::new("tiny"));
        crate::listen::serve(listener, Some(acceptor), site, &mut heard).await;
    });
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(files().certificates).unwrap()).unwrap();
    for (protocol, greeting) in [("http/1.1", &b"HTTP/1.1 200"[..]), ("h2", &[0, 0][..])] {
        let mut config =
            ClientConfig::builder().with_root_certificates(roots.clone()).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let socket = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut socket = TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
        assert_eq!(socket.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
        let hello = match protocol {
            // The preface and empty settings: the server answers with its own.
            "h2" => &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..],
            _ => b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        };
        socket.write_all(hello).await.unwrap();
        let mut answer = vec![0; greeting.len()];
        socket.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, greeting, "{protocol}");
    }
    // Who speaks no TLS is not answered, and harms nobody.
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/"));
}

#[test]
fn files_that_do_not_fit_are_refused_at_the_start() {
    let check = |certificates: PathBuf, key: PathBuf, named: &str| {
        let address = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let tls = Some(TlsFiles { certificates, key });
        let options = Options { address, tls, ..Options::default() };
        let error = crate::Server::bind(options, Arc::new(Shelf(Vec::new()))).err().unwrap();
        assert!(error.to_string().contains(named), "{error}");
    };
    check(file("missing.pem"), file("key.pem"), "missing.pem");
    check(file("key.pem"), file("key.pem"), "key.pem");
    check(file("certificate.pem"), file("certificate.pem"), "certificate.pem");
}
