//! Where models lie and how the hub is reached. The caller hands in the variables; nothing here
//! reads the environment. Sources: the documentation of `huggingface_hub` (environment variables),
//! Ollama's FAQ (where models are stored), LM Studio's documentation (models directory), and the
//! XDG Base Directory specification.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::walk::read_small;

/// A secret that opens a hub; never printed, not even by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Keeps the visible ASCII that an HTTP header may carry; `None` for anything else or nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let sound = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        sound.then(|| Self(text.to_owned()))
    }

    #[cfg(feature = "pull")]
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ApiKey(..)")
    }
}

/// How often and how patiently a request is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts without progress before giving up, the first included.
    pub attempts: u32,
    /// Pause before the second attempt; doubles each time, up to 30 s.
    pub pause: Duration,
    /// The longest `Retry-After` that is obeyed; beyond it the error says how long to wait.
    pub wait_max: Duration,
    /// How long a connection may stay silent.
    pub silence_max: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 6,
            pause: Duration::from_millis(500),
            wait_max: Duration::from_secs(120),
            silence_max: Duration::from_secs(30),
        }
    }
}

/// Where models lie on this machine and how the hub is reached.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// `https://host[/prefix]` of the hub, without a trailing slash.
    pub endpoint: String,
    /// Sent to the endpoint's host alone, and only over TLS or loopback.
    pub token: Option<ApiKey>,
    /// Lucid's own cache; models lie in `ORG/REPO/FILE` beneath it.
    pub cache: PathBuf,
    /// Hub caches of Hugging Face's libraries (folders with `models--ORG--REPO`).
    pub huggingface_caches: Vec<PathBuf>,
    /// Ollama's model folders (with `manifests` and `blobs`).
    pub ollama: Vec<PathBuf>,
    /// LM Studio's model folders (with `publisher/repo/*.gguf`).
    pub lm_studio: Vec<PathBuf>,
    /// Never touch the network.
    pub offline: bool,
    /// How others are reached.
    pub route: Route,
    /// Patience.
    pub retry: Retry,
}

/// How this machine reaches others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// `http://`, `https://` or `socks5://` URL of a proxy. Loopback is never proxied.
    pub proxy: Option<String>,
    /// Comma-separated hosts that bypass the proxy.
    pub no_proxy: Option<String>,
    /// PEM file of certificates to trust instead of the built-in roots.
    pub certificates: Option<PathBuf>,
}

impl HubConfig {
    /// The public hub.
    pub const ENDPOINT: &str = "https://huggingface.co";

    /// Reads the usual variables through `lookup`: `LUCID_HOME`, `HF_TOKEN`, `HF_TOKEN_PATH`,
    /// `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`, `OLLAMA_MODELS`,
    /// `XDG_CACHE_HOME`, `HOME` (or `USERPROFILE`), `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`,
    /// `SSL_CERT_FILE`. An empty variable counts as absent.
    pub fn from_vars(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let var = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let text = |name: &str| var(name).and_then(|value| value.into_string().ok());
        let text_any_case = |name: &str| text(name).or_else(|| text(&name.to_lowercase()));
        let path = |name: &str| var(name).map(PathBuf::from);
        let home = path("HOME").or_else(|| path("USERPROFILE"));
        let in_home = |relative: &str| home.as_ref().map(|home| home.join(relative));
        let absolute = |path: &PathBuf| path.is_absolute(); // XDG: ignore a relative path
        let xdg_cache = path("XDG_CACHE_HOME").filter(absolute).or_else(|| in_home(".cache"));
        let hf_home =
            path("HF_HOME").or_else(|| xdg_cache.as_ref().map(|cache| cache.join("huggingface")));

        let cache = path("LUCID_HOME")
            .map(|home| home.join("models"))
            .or_else(|| xdg_cache.map(|cache| cache.join("lucid").join("models")))
            .unwrap_or_else(|| PathBuf::from(".lucid").join("models"));
        let token_file =
            path("HF_TOKEN_PATH").or_else(|| hf_home.as_ref().map(|home| home.join("token")));
        let token = text("HF_TOKEN")
            .and_then(|value| ApiKey::parse(&value))
            .or_else(|| token_file.as_deref().and_then(read_key));

        Self {
            endpoint: text("HF_ENDPOINT").map_or_else(
                || Self::ENDPOINT.to_owned(),
                |endpoint| endpoint.trim().trim_end_matches('/').to_owned(),
            ),
            token,
            cache,
            huggingface_caches: unique([
                path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")),
                hf_home.map(|home| home.join("hub")),
            ]),
            ollama: unique([
                path("OLLAMA_MODELS"),
                in_home(".ollama/models"),
                cfg!(unix).then(|| PathBuf::from("/usr/share/ollama/.ollama/models")),
            ]),
            lm_studio: unique([
                // LM Studio notes here where its folder was moved to.
                in_home(".lmstudio-home-pointer")
                    .and_then(|pointer| read_small(&pointer, 4096))
                    .map(|moved| Path::new(moved.trim()).join("models")),
                in_home(".lmstudio/models"),
                in_home(".cache/lm-studio/models"),
            ]),
            offline: text("HF_HUB_OFFLINE").is_some_and(|value| {
                matches!(value.trim().to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on")
            }),
            route: Route {
                proxy: text_any_case("HTTPS_PROXY").or_else(|| text_any_case("ALL_PROXY")),
                no_proxy: text_any_case("NO_PROXY"),
                certificates: path("SSL_CERT_FILE"),
            },
            retry: Retry::default(),
        }
    }
}

fn unique<const N: usize>(paths: [Option<PathBuf>; N]) -> Vec<PathBuf> {
    let mut kept: Vec<PathBuf> = Vec::new();
    for path in paths.into_iter().flatten() {
        if !kept.contains(&path) {
            kept.push(path);
        }
    }
    kept
}

/// The first line of a token file. Anything odd means no token.
fn read_key(path: &Path) -> Option<ApiKey> {
    ApiKey::parse(read_small(path, 4096)?.lines().next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(vars: &[(&str, &str)]) -> HubConfig {
        HubConfig::from_vars(|name| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn defaults_come_from_home() {
        let config = config(&[("HOME", "/home/ada"), ("XDG_CACHE_HOME", "relative/ignored")]);
        assert_eq!(config.endpoint, HubConfig::ENDPOINT);
        assert_eq!(config.cache, Path::new("/home/ada/.cache/lucid/models"));
        assert_eq!(
            config.huggingface_caches,
            [Path::new("/home/ada/.cache/huggingface/hub").to_owned()]
        );
        assert_eq!(config.ollama[0], Path::new("/home/ada/.ollama/models"));
        assert_eq!(config.lm_studio[0], Path::new("/home/ada/.lmstudio/models"));
        assert!(config.token.is_none() && !config.offline && config.route.proxy.is_none());
    }

    #[test]
    fn variables_win() {
        let config = config(&[
            ("HOME", "/home/ada"),
            ("LUCID_HOME", "/data/lucid"),
            ("HF_HOME", "/data/hf"),
            ("HF_HUB_CACHE", "/data/hub"),
            ("HF_ENDPOINT", "https://mirror.example/"),
            ("HF_TOKEN", " hf_secret\n"),
            ("HF_HUB_OFFLINE", "1"),
            ("OLLAMA_MODELS", "/data/ollama"),
            ("https_proxy", "http://proxy:3128"),
        ]);
        assert_eq!(config.cache, Path::new("/data/lucid/models"));
        assert_eq!(config.endpoint, "https://mirror.example");
        assert_eq!(config.huggingface_caches.len(), 2);
        assert_eq!(config.huggingface_caches[0], Path::new("/data/hub"));
        assert_eq!(config.ollama[0], Path::new("/data/ollama"));
        assert_eq!(config.route.proxy.as_deref(), Some("http://proxy:3128"));
        assert!(config.offline);
        assert_eq!(config.token, ApiKey::parse("hf_secret"));
        assert!(!format!("{config:?}").contains("hf_secret"), "Debug must not reveal the token");
    }

    #[test]
    fn nothing_set_and_odd_tokens() {
        assert_eq!(config(&[]).cache, Path::new(".lucid/models"));
        assert!(config(&[("HF_TOKEN", "two words")]).token.is_none());
        assert!(config(&[("HF_TOKEN", "line\r\nX-Evil: 1")]).token.is_none());
    }
}
