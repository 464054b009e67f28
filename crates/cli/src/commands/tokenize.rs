//! `lucid tokenize MODEL TEXT`: text as the model sees it.

use anyhow::Result;
use lucid_tokenizer::{AddSpecial, ParseSpecial};
use serde_json::json;

use crate::args::TokenizeArgs;
use crate::env::Environment;
use crate::style::Paint;
use crate::{load, output, style};

pub(crate) fn run(args: &TokenizeArgs, environment: &Environment) -> Result<i32> {
    let text = super::next::text(args.text.as_deref(), environment)?;
    let checkpoint = load::checkpoint(environment, &args.model)?;
    let tokenizer = load::tokenizer(&checkpoint, args.tokenizer.as_deref())?;
    let add = if args.bare { AddSpecial::No } else { AddSpecial::Yes };
    let special = if args.special { ParseSpecial::Yes } else { ParseSpecial::No };
    let ids = tokenizer.encode(text.as_bytes(), &[], add, special);
    let pieces: Vec<_> = ids.iter().map(|&id| tokenizer.piece(id).unwrap_or_default()).collect();
    if args.json {
        let texts: Vec<_> = pieces.iter().map(|piece| String::from_utf8_lossy(piece)).collect();
        output::json(&json!({ "count": ids.len(), "ids": ids, "pieces": texts }))?;
        return Ok(0);
    }
    let paint = Paint::new(environment.colour);
    let shown: Vec<_> = pieces.iter().map(|piece| style::visible(piece)).collect();
    if paint.enabled() {
        // Line breaks in the text break the line here too, after the mark that stands for them.
        let coloured = shown.iter().enumerate().map(|(index, piece)| {
            let end = if piece.ends_with('⏎') { "\n" } else { "" };
            format!("{}{end}", paint.piece(index, piece))
        });
        output::line(coloured.collect::<String>())?;
    } else {
        output::line(shown.join("|"))?;
    }
    output::line(ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" "))?;
    let characters = text.chars().count();
    let per_token = text.len() as f64 / ids.len().max(1) as f64;
    output::line(paint.dim(format!(
        "{} tokens, {characters} characters, {} bytes ({per_token:.2} bytes per token)",
        ids.len(),
        text.len()
    )))?;
    Ok(0)
}
