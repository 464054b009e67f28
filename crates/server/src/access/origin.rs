//! From which pages a browser may ask. A browser sends `Origin` with everything that one page asks
//! of another's server and that could change something, and newer ones `Sec-Fetch-Site` with
//! everything. Programs that are no browsers send neither.

use axum::http::{HeaderMap, Method, header};

use crate::refusal::{Kind, Refusal};

/// The foreign origin that is allowed to ask and wants to be told so; none for our own pages and
/// for programs.
pub(crate) fn allowed_origin<'a>(
    headers: &'a HeaderMap,
    authority: &str,
    cors: &[String],
) -> Option<&'a str> {
    let origin = headers.get(header::ORIGIN)?.to_str().ok()?;
    let listed = cors.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(origin));
    (listed && !is_own(origin, authority)).then_some(origin)
}

/// Checks that no foreign page asks.
///
/// # Errors
/// One does.
pub(crate) fn check_origin(
    headers: &HeaderMap,
    method: &Method,
    is_page: IsPage,
    authority: &str,
    cors: &[String],
) -> Result<(), Refusal> {
    let foreign = |who: &str| {
        let who: String = who.chars().take(120).filter(|char| !char.is_control()).collect();
        let message =
            format!("pages of {who} may not ask this server; it allows that with --cors ORIGIN");
        Err(Refusal::new(Kind::Forbidden, message))
    };
    if let Some(origin) = headers.get(header::ORIGIN) {
        let Ok(origin) = origin.to_str() else { return foreign("an unreadable origin") };
        if is_own(origin, authority) || allowed_origin(headers, authority, cors).is_some() {
            return Ok(());
        }
        return foreign(origin);
    }
    let told = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match told("sec-fetch-site") {
        None | Some("same-origin" | "none") => Ok(()),
        // A link to our page may be followed; only our page is shown then.
        Some(_)
            if is_page == IsPage::Yes
                && (method == Method::GET || method == Method::HEAD)
                && told("sec-fetch-mode") == Some("navigate") =>
        {
            Ok(())
        }
        // Without an origin it cannot be told whether it is a listed one: a plain GET of a script
        // or an image, which has no business here.
        Some(_) => foreign("another site"),
    }
}

/// Whether what is asked for is meant to be looked at by a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IsPage {
    /// A page.
    Yes,
    /// Something that programs ask for.
    No,
}

/// The scheme is not compared: behind a proxy that ends TLS ours differs from the page's.
fn is_own(origin: &str, authority: &str) -> bool {
    let Some((scheme, host)) = origin.split_once("://") else { return false };
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let bare = |text: &str| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
    bare(host) == bare(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(pairs: &[(&'static str, &str)], method: &Method, is_page: IsPage) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        let cors = ["https://friend.example".to_owned()];
        check_origin(&headers, method, is_page, "127.0.0.1:8080", &cors).is_ok()
    }

    #[test]
    fn foreign_pages_are_refused() {
        let check = |pairs: &[(&'static str, &str)], passes: bool| {
            assert_eq!(ask(pairs, &Method::POST, IsPage::No), passes, "{pairs:?}");
        };
        check(&[], true);
        check(&[("origin", "http://127.0.0.1:8080")], true);
        check(&[("origin", "https://friend.example")], true);
        check(&[("origin", "http://127.0.0.1:8081")], false);
        check(&[("origin", "http://127.0.0.1")], false);
        check(&[("origin", "https://evil.example")], false);
        check(&[("origin", "null")], false);
        check(&[("origin", "file://")], false);
        check(&[("sec-fetch-site", "same-origin")], true);
        check(&[("sec-fetch-site", "none")], true);
        check(&[("sec-fetch-site", "cross-site")], false);
        check(&[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "navigate")], false);
    }

    #[test]
    fn a_link_to_the_page_may_be_followed() {
        let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert!(ask(&link, &Method::GET, IsPage::Yes));
        assert!(!ask(&link, &Method::GET, IsPage::No));
        assert!(!ask(&link, &Method::POST, IsPage::Yes));
        let image = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")];
        assert!(!ask(&image, &Method::GET, IsPage::Yes));
    }
}
