//! `lucid key`: API keys of the server.

use anyhow::{Result, bail};
use lucid_server::{KeyFile, KeyInfo, Limits};
use serde_json::json;
use unicode_width::UnicodeWidthStr as _;

use crate::env::Environment;
use crate::output;
use crate::serve_args::{KeyAction, KeyArgs};
use crate::style::Paint;

pub(crate) fn run(args: &KeyArgs, environment: &Environment) -> Result<i32> {
    let Some(path) = args.keys.clone().or_else(|| environment.keys.clone()) else {
        bail!("there is no home folder to keep keys in; name a file with --keys");
    };
    let mut file = KeyFile::open(&path)?;
    match &args.action {
        KeyAction::Add { name, requests, tokens, concurrent } => {
            let limits = Limits {
                requests_per_minute: *requests,
                tokens_per_minute: *tokens,
                concurrent: *concurrent,
            };
            let key = file.add(name, limits)?;
            output::line(key)?;
            output::note(format_args!(
                "This is the key `{name}`. It is shown only now: keep it. Programs send it as \
                 their API key"
            ));
        }
        KeyAction::List { json: true } => {
            let rows: Vec<_> = file.list().iter().map(row).collect();
            output::json(&rows)?;
        }
        KeyAction::List { json: false } => list(&file, environment)?,
        KeyAction::Rm { name } => {
            if !file.remove(name)? {
                bail!("there is no key `{name}`; `lucid key list` shows those there are");
            }
            output::note(format_args!("The key `{name}` opens nothing any more"));
        }
    }
    Ok(0)
}

fn row(key: &KeyInfo) -> serde_json::Value {
    json!({
        "name": key.name,
        "created_unix_seconds": key.created,
        "requests_per_minute": key.limits.requests_per_minute,
        "tokens_per_minute": key.limits.tokens_per_minute,
        "concurrent": key.limits.concurrent,
    })
}

fn list(file: &KeyFile, environment: &Environment) -> Result<()> {
    if file.list().is_empty() {
        return output::line("There are no keys. `lucid key add NAME` makes one.");
    }
    let paint = Paint::new(environment.colour);
    let width = file.list().iter().map(|key| key.name.width()).max().unwrap_or(0).max(4);
    let header = format!(
        "{:<width$}  {:>12}  {:>12}  {:>7}",
        "NAME", "REQUESTS/MIN", "TOKENS/MIN", "AT ONCE"
    );
    output::line(paint.bold(header))?;
    let told = |limit: Option<u64>| limit.map_or_else(|| "-".to_owned(), |it| it.to_string());
    for key in file.list() {
        let Limits { requests_per_minute, tokens_per_minute, concurrent } = key.limits;
        output::line(format!(
            "{:<width$}  {:>12}  {:>12}  {:>7}",
            key.name,
            told(requests_per_minute.map(u64::from)),
            told(tokens_per_minute),
            told(concurrent.map(u64::from)),
        ))?;
    }
    Ok(())
}
