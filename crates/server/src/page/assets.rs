//! The page and its files: plain HTML, styles and scripts, part of the program. Nothing is loaded
//! from anywhere else, and the policy in the headers says so to the browser.

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::refusal::{Kind, Refusal};

/// A file of the page.
struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! assets {
    ($($name:literal $kind:ident),* $(,)?) => {
        [$(Asset { name: $name, kind: $kind, bytes: include_str!(concat!("assets/", $name)) }),*]
    };
}

const PICTURE: &str = "image/svg+xml";

static ASSETS: [Asset; 13] = assets![
    "page.html" HTML,
    "page.css" STYLE,
    "icon.svg" PICTURE,
    "main.js" SCRIPT,
    "api.js" SCRIPT,
    "chat.js" SCRIPT,
    "dialogs.js" SCRIPT,
    "dom.js" SCRIPT,
    "highlight.js" SCRIPT,
    "pieces.js" SCRIPT,
    "settings.js" SCRIPT,
    "sidebar.js" SCRIPT,
    "tokens.js" SCRIPT,
];

/// What the page may do: run and show what comes from this server, ask this server, and nothing
/// else. Markup is made in one place of the scripts only.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types lucid";

const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // A browser would look up the names in links before they are clicked.
    (header::X_DNS_PREFETCH_CONTROL, "off"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    ),
];

/// `GET /`
pub(super) async fn page(headers: HeaderMap) -> Response {
    answer(&ASSETS[0], &headers)
}

/// `GET /favicon.ico`: browsers ask for it without being told of it.
pub(super) async fn icon(headers: HeaderMap) -> Response {
    answer(&ASSETS[2], &headers)
}

/// `GET /page/assets/{name}`
pub(super) async fn asset(
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let found = ASSETS.iter().find(|asset| asset.name == name);
    let missing = || Refusal::new(Kind::NotFound, "the page has no such file");
    found.map(|asset| answer(asset, &headers)).ok_or_else(missing)
}

fn answer(asset: &Asset, asked: &HeaderMap) -> Response {
    // The page and its scripts must be of one version: browsers ask each time, and are told in few
    // bytes that nothing changed.
    let tag = format!("\"{}\"", &blake3::hash(asset.bytes.as_bytes()).to_hex()[..24]);
    let known = asked.get(header::IF_NONE_MATCH).is_some_and(|given| given == tag.as_str());
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, asset.kind)], asset.bytes).into_response()
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// The names and contents of all files.
#[cfg(test)]
pub(super) fn texts() -> impl Iterator<Item = (&'static str, &'static str)> {
    ASSETS.iter().map(|asset| (asset.name, asset.bytes))
}
