//! Models behind remote APIs: the two that everybody knows, those that a file of the person's own
//! names, and any address.

use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, bail};
use lucid_hub::Origin;
use lucid_provider::remote::{Dialect, Patience, Prices, Remote, RemoteOptions, Secret};
use serde::Deserialize;

use crate::env::Environment;

/// APIs that need no entry: name, address, dialect, the variable that holds the key.
const KNOWN: [(&str, &str, Dialect, &str); 2] = [
    ("openai", "https://api.openai.com/v1", Dialect::OpenAi, "OPENAI_API_KEY"),
    ("anthropic", "https://api.anthropic.com/v1", Dialect::Anthropic, "ANTHROPIC_API_KEY"),
];

/// Where the key for a bare address is looked for.
const KEY_VARIABLE: &str = "LUCID_PROVIDER_KEY";

/// The file in which a person names providers: `providers.json` in the folder of settings.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    providers: Vec<Named>,
}

/// A provider that the file names.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    url: String,
    #[serde(default)]
    dialect: Spoken,
    /// The variable that holds the key.
    key_env: Option<String>,
    /// The file that holds the key.
    key_file: Option<PathBuf>,
    /// Whether it takes what open servers take beyond the protocol.
    #[serde(default)]
    extended: bool,
    /// The models to be listed, and what is known of them.
    #[serde(default)]
    models: Vec<NamedModel>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Spoken {
    #[default]
    OpenAi,
    Anthropic,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedModel {
    name: String,
    #[serde(default)]
    context: usize,
    /// US dollars per million tokens.
    prices: Option<NamedPrices>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedPrices {
    prompt: f64,
    cached: Option<f64>,
    answer: f64,
}

/// The model of a provider: a known name, a name in the person's file, or an address.
pub(crate) fn open(environment: &Environment, provider: &str, model: &str) -> Result<Remote> {
    let options = options(environment, provider, model)?;
    Ok(Remote::new(options)?)
}

/// The models that the person's file lists, named `PROVIDER/MODEL`.
pub(crate) fn listed(environment: &Environment) -> Result<Vec<RemoteOptions>> {
    let mut all = Vec::new();
    for provider in read(environment)?.providers {
        for model in &provider.models {
            all.push(options(environment, &provider.name, &model.name)?);
        }
    }
    Ok(all)
}

fn options(environment: &Environment, provider: &str, model: &str) -> Result<RemoteOptions> {
    let is_address = provider.contains("://");
    // An address may hold a password: not repeated, as a name is.
    let origin = is_address.then(|| Origin::parse(provider)).transpose();
    let origin = origin.map_err(|reason| anyhow!("the address of the provider: {reason}"))?;
    let shown = origin.map_or_else(|| provider.to_owned(), |origin| origin.to_string());
    let plain = |url: &str, dialect: Dialect, key: Option<Secret>, extended: bool| RemoteOptions {
        name: format!("{shown}/{model}"),
        url: url.to_owned(),
        dialect,
        model: model.to_owned(),
        key,
        extended,
        context: 0,
        prices: None,
        patience: Patience::default(),
        route: environment.hub.route.clone(),
    };
    if is_address {
        let key = environment.key(KEY_VARIABLE);
        return Ok(plain(provider, Dialect::OpenAi, key, true));
    }
    let named = read(environment)?.providers.into_iter().find(|named| named.name == provider);
    if let Some(named) = named {
        let dialect = match named.dialect {
            Spoken::OpenAi => Dialect::OpenAi,
            Spoken::Anthropic => Dialect::Anthropic,
        };
        let mut options = plain(&named.url, dialect, key(environment, &named)?, named.extended);
        if let Some(known) = named.models.iter().find(|known| known.name == model) {
            options.context = known.context;
            options.prices = known.prices.map(|prices| Prices {
                prompt: prices.prompt,
                cached: prices.cached.unwrap_or(prices.prompt),
                answer: prices.answer,
            });
        }
        return Ok(options);
    }
    let Some(&(_, url, dialect, variable)) = KNOWN.iter().find(|known| known.0 == provider) else {
        let file = file(environment).map_or_else(String::new, |it| it.display().to_string());
        bail!(
            "there is no provider `{provider}`: give openai, anthropic, an address such as \
             http://localhost:8000/v1, or a name that {file} defines"
        );
    };
    let Some(key) = environment.key(variable) else {
        bail!("{variable} is not set: it holds the key for {provider}");
    };
    Ok(plain(url, dialect, Some(key), false))
}

fn key(environment: &Environment, named: &Named) -> Result<Option<Secret>> {
    if let Some(variable) = &named.key_env {
        let key = environment.key(variable);
        let context = || format!("{variable} is not set: it holds the key for {}", named.name);
        return key.map(Some).with_context(context);
    }
    let Some(path) = &named.key_file else { return Ok(None) };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the key for {}: {}", named.name, path.display()))?;
    let key = text.trim();
    if key.is_empty() || key.contains(char::is_whitespace) {
        bail!("{} holds no key for {}: one word is expected", path.display(), named.name);
    }
    Ok(Some(Secret(key.to_owned())))
}

fn file(environment: &Environment) -> Option<PathBuf> {
    environment.settings.as_ref().map(|folder| folder.join("providers.json"))
}

fn read(environment: &Environment) -> Result<File> {
    let Some(path) = file(environment) else { return Ok(File::default()) };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(File::default()),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    serde_json::from_str(&text).with_context(|| format!("{}: its providers", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_providers_and_what_is_known_of_them() {
        let text = r#"{"providers": [{"name": "a", "url": "https://a/v1", "dialect": "anthropic",
            "models": [{"name": "m", "context": 10, "prices": {"prompt": 1, "answer": 2}}]},
            {"name": "b", "url": "http://b/v1", "extended": true, "key_env": "K"}]}"#;
        let file: File = serde_json::from_str(text).unwrap();
        assert_eq!(file.providers[0].models[0].context, 10);
        assert!(matches!(file.providers[0].dialect, Spoken::Anthropic));
        assert!(matches!(file.providers[1].dialect, Spoken::OpenAi));
        assert!(file.providers[1].extended && file.providers[1].key_file.is_none());
        for wrong in [r#"{"providers": [{"name": "a"}]}"#, r#"{"provider": []}"#] {
            assert!(serde_json::from_str::<File>(wrong).is_err(), "{wrong}");
        }
    }
}
