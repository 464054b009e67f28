//! How connections go out, for whoever makes them: who is spoken to, which proxy stands between,
//! whose certificates are trusted.
//!
//! Invariant: loopback is never proxied, and nothing is read from the environment.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use ureq::config::ConfigBuilder;
use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::typestate::AgentScope;
use ureq::{Agent, Proxy};

use crate::walk::read_small;
use crate::{HubError, Route};

const CERTIFICATES_BYTES_MAX: u64 = 8 << 20;

/// Scheme, host and port: who is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Whether over TLS.
    pub tls: bool,
    /// The host's name or address, in small letters.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Origin {
    /// Who is spoken to at an address; none where that is not HTTP.
    pub fn of(uri: &Uri) -> Option<Self> {
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let host = uri.host().filter(|host| !host.is_empty())?.to_ascii_lowercase();
        Some(Self { tls, host, port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }) })
    }

    /// Who is spoken to at an address that a person has set.
    ///
    /// # Errors
    /// In words: it is no address, or holds what would be sent along or shown with it.
    pub fn parse(address: &str) -> Result<Self, &'static str> {
        let uri: Uri = address.parse().map_err(|_| "it is not a URL")?;
        let origin = Self::of(&uri).ok_or("expected http://HOST or https://HOST")?;
        if uri.query().is_some() || uri.authority().is_some_and(|it| it.as_str().contains('@')) {
            return Err("neither a query nor a user name may be in it");
        }
        Ok(origin)
    }

    /// Whether it is this machine.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.trim_matches(['[', ']']).parse::<IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (scheme, usual) = if self.tls { ("https", 443) } else { ("http", 80) };
        write!(formatter, "{scheme}://{}", self.host)?;
        if self.port == usual { Ok(()) } else { write!(formatter, ":{}", self.port) }
    }
}

impl Route {
    /// What requests to `origin` are made with: no redirects, no status is an error, `silence` at
    /// most until a connection stands and between two signs of life.
    ///
    /// # Errors
    /// The proxy or the certificates cannot be used.
    pub fn to(
        &self,
        origin: &Origin,
        silence: Duration,
    ) -> Result<ConfigBuilder<AgentScope>, HubError> {
        let silence = Some(silence);
        let mut tls = TlsConfig::builder();
        if let Some(path) = &self.certificates {
            tls = tls.root_certs(certificates(path)?);
        }
        let proxy = match &self.proxy {
            Some(url) if !origin.is_loopback() => Some(proxy(url, self.no_proxy.as_deref())?),
            _ => None,
        };
        Ok(Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy) // also keeps ureq from reading the environment
            .tls_config(tls.build())
            .user_agent(concat!("lucid/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(silence)
            .timeout_recv_response(silence)
            .timeout_per_read(silence)
            .timeout_per_write(silence))
    }
}

fn certificates(path: &Path) -> Result<RootCerts, HubError> {
    let bad = |reason: &str| HubError::BadSetting {
        setting: "SSL_CERT_FILE",
        value: path.display().to_string(),
        reason: reason.to_owned(),
    };
    let text = read_small(path, CERTIFICATES_BYTES_MAX).ok_or_else(|| bad("cannot be read"))?;
    let certificates: Vec<_> = parse_pem(text.as_bytes())
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(bad("holds no certificate in PEM form"));
    }
    Ok(RootCerts::from(certificates))
}

fn proxy(url: &str, no_proxy: Option<&str>) -> Result<Proxy, HubError> {
    // The value may hold a password: not repeated.
    let bad = |error: ureq::Error| HubError::BadSetting {
        setting: "HTTPS_PROXY",
        value: "...".to_owned(),
        reason: error.to_string(),
    };
    let plain = Proxy::new(url).map_err(bad)?;
    let mut builder = Proxy::builder(plain.protocol()).host(plain.host()).port(plain.port());
    if let Some(user) = plain.username() {
        builder = builder.username(user);
    }
    if let Some(password) = plain.password() {
        builder = builder.password(password);
    }
    for host in no_proxy.unwrap_or_default().split(',').map(str::trim) {
        if !host.is_empty() {
            builder = builder.no_proxy(host);
        }
    }
    builder.build().map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        let origin = |url: &str| Origin::of(&url.parse().unwrap());
        assert_eq!(origin("https://A.example/x"), origin("https://a.example:443/y"));
        assert_ne!(origin("https://a.example"), origin("http://a.example:443"));
        assert_eq!(origin("ftp://a.example"), None);
        assert!(origin("http://[::1]:80/").unwrap().is_loopback());
        assert!(!origin("http://127.0.0.1.evil.example").unwrap().is_loopback());
        let shown = |url: &str| Origin::parse(url).map(|it| it.to_string());
        assert_eq!(shown("http://A.example:80/v1").as_deref(), Ok("http://a.example"));
        assert_eq!(shown("https://[::1]:8443/").as_deref(), Ok("https://[::1]:8443"));
        for wrong in ["https://me:secret@a.example/v1", "https://a.example/?key=1", "a.example"] {
            assert!(Origin::parse(wrong).is_err(), "{wrong}");
        }
    }
}
