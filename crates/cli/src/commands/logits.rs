//! `lucid logits MODEL --tokens IDS --out X.npy`: for anyone who wants to check our arithmetic.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use lucid_engine::{Feed, Wanted};
use lucid_tensor::TokenId;

use crate::args::{ComputeArgs, LogitsArgs};
use crate::env::Environment;
use crate::{interrupt, load, npy, output};

/// Rows per pass.
const CHUNK: usize = 128;

pub(crate) fn run(args: &LogitsArgs, environment: &Environment) -> Result<i32> {
    let tokens = tokens(&args.tokens)?;
    load::check_output(&args.out)?;
    let checkpoint = load::checkpoint(environment, &args.model)?;
    // Exact unless asked otherwise: these numbers are there to be compared.
    let compute =
        ComputeArgs { no_pack: args.compute.no_pack || !args.compute.pack, ..args.compute.clone() };
    let mut engine = load::engine(&checkpoint, &compute)?;
    let (context, vocab_size) = (engine.options().context, engine.config().vocab_size);
    if tokens.len() > context {
        bail!(
            "{} tokens do not fit into the context of {context}; --ctx makes it larger",
            tokens.len()
        );
    }
    if let Some(token) = tokens.iter().find(|&&token| token as usize >= vocab_size) {
        bail!(
            "token {token} is out of range: the model has {vocab_size} tokens (0 to {})",
            vocab_size - 1
        );
    }
    let sequence = engine.open();
    let listening = interrupt::listen();
    let mut interrupted = false;
    let written = lucid_sys::write_atomic(&args.out, |out| {
        npy::write_header(out, tokens.len(), vocab_size)?;
        for chunk in tokens.chunks(CHUNK) {
            let feed = Feed { sequence, tokens: chunk, wanted: Wanted::All };
            let logits = engine.forward(&[feed]).map_err(std::io::Error::other)?;
            for row in logits.rows() {
                npy::write_row(out, row)?;
            }
            if listening.interrupted() {
                interrupted = true;
                return Err(std::io::Error::other("interrupted; nothing was written"));
            }
        }
        Ok(())
    });
    if interrupted {
        return Ok(interrupt::EXIT_INTERRUPTED);
    }
    written.with_context(|| format!("cannot write {}", args.out.display()))?;
    output::note(format_args!(
        "wrote {} ({} x {vocab_size} f32)",
        args.out.display(),
        tokens.len()
    ));
    Ok(0)
}

/// Ids between commas, given or in a file of that name.
fn tokens(given: &str) -> Result<Vec<TokenId>> {
    let is_list = given.chars().all(|c| c.is_ascii_digit() || c == ',' || c.is_whitespace());
    let text = if is_list && !Path::new(given).is_file() {
        given.to_owned()
    } else {
        std::fs::read_to_string(given).with_context(|| {
            format!("--tokens {given}: neither ids between commas nor a file that can be read")
        })?
    };
    let ids: Vec<TokenId> = text
        .split(|c: char| c == ',' || c.is_whitespace())
        .filter(|part| !part.is_empty())
        .map(|part| {
            part.parse().with_context(|| format!("--tokens: `{}` is no token id", style_of(part)))
        })
        .collect::<Result<_>>()?;
    if ids.is_empty() {
        bail!("--tokens: no token was given; write ids between commas, such as 1,15043");
    }
    Ok(ids)
}

fn style_of(part: &str) -> String {
    crate::style::visible(part.chars().take(40).collect::<String>().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_their_faults() {
        assert_eq!(tokens("1, 2,3").unwrap(), [1, 2, 3]);
        assert!(tokens("").unwrap_err().to_string().contains("no token"));
        assert!(tokens("1,-2").unwrap_err().to_string().contains("neither ids"));
        assert!(tokens("4294967296").unwrap_err().to_string().contains("no token id"));
    }
}
