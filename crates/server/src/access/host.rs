//! By which names the server may be called. A page on the internet can have its own name resolve to
//! this machine and then talks to us as if we were its server (DNS rebinding); it cannot choose the
//! name that its visitors' browsers send. So a name must be one of ours. Addresses are always ours:
//! nothing resolves to them.

use std::net::IpAddr;

use axum::http::{HeaderMap, Uri, header};

use crate::refusal::{Kind, Refusal};

/// Checks that a request calls the server by one of its names.
///
/// # Errors
/// It does not, or calls nobody.
pub(crate) fn check_host(
    headers: &HeaderMap,
    target: &Uri,
    names: &[String],
) -> Result<String, Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let header = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::new(Kind::Invalid, "the request has more than one Host"));
    }
    // HTTP/2 has the name in its target; a target in absolute form outweighs the header.
    let authority = match (target.authority(), header) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(header)) => header.to_str().unwrap_or("\u{fffd}"),
        (None, None) => return Err(Refusal::new(Kind::Invalid, "the request has no Host")),
    };
    let name = name_of(authority);
    let known = is_address(name)
        || is_loopback_name(name)
        || names.iter().any(|known| known.eq_ignore_ascii_case(name));
    if known {
        return Ok(authority.to_ascii_lowercase());
    }
    let shown: String = name.chars().take(80).filter(|char| !char.is_control()).collect();
    let message = format!(
        "this server is not known as `{shown}`: ask for it by address, or start it with \
         --allow-host {shown}"
    );
    Err(Refusal::new(Kind::Forbidden, message))
}

/// Whether a name means this machine wherever it is looked up.
pub(crate) fn is_loopback_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// The name without user and port.
fn name_of(authority: &str) -> &str {
    if authority.starts_with('[') {
        return authority.find(']').map_or(authority, |end| &authority[..=end]);
    }
    authority.rsplit_once(':').map_or(authority, |(name, _)| name)
}

fn is_address(name: &str) -> bool {
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_names_pass() {
        let check = |host: &str, passes: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            let names = ["models.example".to_owned()];
            let found = check_host(&headers, &Uri::from_static("/v1/models"), &names);
            assert_eq!(found.is_ok(), passes, "{host}");
        };
        for ours in [
            "localhost",
            "LOCALHOST:8080",
            "a.localhost:1",
            "127.0.0.1:8080",
            "[::1]:8080",
            "[::1]",
            "192.168.1.5",
            "models.example",
            "Models.Example:443",
        ] {
            check(ours, true);
        }
        for foreign in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:8080",
            "",
            ":8080",
            "xlocalhost",
            "localhost@evil.example",
            "models.example.evil",
        ] {
            check(foreign, false);
        }
        assert!(check_host(&HeaderMap::new(), &Uri::from_static("/"), &[]).is_err());
    }
}
