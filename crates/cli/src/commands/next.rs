//! `lucid next MODEL TEXT`: what the network does, and all that it does: a probability for each
//! possible next token.

use anyhow::{Result, bail};
use lucid_engine::sampler::softmax_top;
use lucid_engine::{Feed, Wanted};
use lucid_tokenizer::{AddSpecial, ParseSpecial, Tokenizer};
use serde_json::json;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::args::NextArgs;
use crate::env::Environment;
use crate::style::Paint;
use crate::{input, load, output, style};

/// Rows of a prompt per pass.
const CHUNK: usize = 256;

pub(crate) fn run(args: &NextArgs, environment: &Environment) -> Result<i32> {
    let text = text(args.text.as_deref(), environment)?;
    let checkpoint = load::checkpoint(environment, &args.model)?;
    let tokenizer = load::tokenizer(&checkpoint, args.compute.tokenizer.as_deref())?;
    let mut engine = load::engine(&checkpoint, &args.compute)?;
    let tokens = tokenizer.encode(text.as_bytes(), &[], AddSpecial::Yes, ParseSpecial::No);
    if tokens.is_empty() {
        bail!("the text is empty, and this model has no token to begin with: give it some text");
    }
    let context = engine.options().context;
    if tokens.len() > context {
        bail!(
            "the text takes {} tokens, but the context has room for {context}; --ctx makes it \
             larger",
            tokens.len()
        );
    }
    let sequence = engine.open();
    let mut top = Vec::new();
    for chunk in tokens.chunks(CHUNK) {
        let logits = engine.forward(&[Feed { sequence, tokens: chunk, wanted: Wanted::Last }])?;
        top = softmax_top(logits.last(), args.top);
    }
    if args.json {
        return json_out(&tokenizer, &tokens, &top);
    }
    let paint = Paint::new(environment.colour);
    let pieces: Vec<_> = top.iter().map(|&(id, _)| piece(&tokenizer, id)).collect();
    let widest = pieces.iter().map(|piece| piece.width()).max().unwrap_or(0);
    let column = widest.clamp(5, environment.width.saturating_sub(28).clamp(5, 30));
    let room = environment.width.saturating_sub(column + 20).clamp(4, 60);
    for (&(id, probability), piece) in top.iter().zip(&pieces) {
        let piece = cut(piece, column);
        let padding = " ".repeat(column.saturating_sub(piece.width()));
        let bar = paint.green(style::bar(probability, room));
        let id = paint.dim(format!("{id:>7}"));
        output::line(format!("{piece}{padding} {id} {:>7.3} % {bar}", probability * 100.0))?;
    }
    let rest = 1.0 - top.iter().map(|row| row.1).sum::<f64>();
    if rest > 0.0 {
        let others = engine.config().vocab_size.saturating_sub(top.len());
        let label = format!("({others} others)");
        output::line(paint.dim(format!(
            "{label:<width$} {:>7.3} %",
            rest * 100.0,
            width = column + 8
        )))?;
    }
    Ok(0)
}

/// The argument, or what is piped.
pub(super) fn text(argument: Option<&str>, environment: &Environment) -> Result<String> {
    if let Some(text) = argument {
        return Ok(text.to_owned());
    }
    if environment.stdin_is_terminal {
        bail!("give the text as an argument, or pipe it in");
    }
    input::stdin()
}

/// A long piece ends in `…`.
fn cut(piece: &str, columns: usize) -> String {
    if piece.width() <= columns {
        return piece.to_owned();
    }
    let mut kept = String::new();
    for character in piece.chars() {
        if kept.width() + character.width().unwrap_or(0) >= columns {
            break;
        }
        kept.push(character);
    }
    kept.push('…');
    kept
}

fn piece(tokenizer: &Tokenizer, id: u32) -> String {
    tokenizer.piece(id).map_or_else(|| format!("[{id}]"), |piece| style::visible(&piece))
}

fn json_out(tokenizer: &Tokenizer, tokens: &[u32], top: &[(u32, f64)]) -> Result<i32> {
    let rows: Vec<_> = top
        .iter()
        .map(|&(id, probability)| {
            let piece = tokenizer.piece(id).unwrap_or_default();
            json!({
                "id": id,
                "piece": String::from_utf8_lossy(&piece),
                "bytes": piece.to_vec(),
                "probability": probability,
            })
        })
        .collect();
    output::json(&json!({ "prompt_tokens": tokens, "next": rows }))?;
    Ok(0)
}
