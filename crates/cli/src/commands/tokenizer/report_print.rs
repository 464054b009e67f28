//! The report of a vocabulary, for a person and for a program.

use std::cmp::Reverse;

use anyhow::Result;
use lucid_tokenizer::{TokenId, TokenKind, Tokenizer};
use serde_json::{Map, Value, json};
use unicode_width::UnicodeWidthStr as _;

use super::report::{Kind, Report};
use crate::env::Environment;
use crate::style::Paint;
use crate::{output, style};

/// Parts of the vocabulary, most frequent tokens first, in per cent.
const COVERAGE: [usize; 7] = [1, 2, 5, 10, 20, 50, 100];

/// A token of text that is shown.
struct Shown {
    id: TokenId,
    piece: Vec<u8>,
    uses: u64,
}

/// Tokens that text can become.
fn text_tokens(tokenizer: &Tokenizer, uses: &[u64]) -> Vec<Shown> {
    let kinds = &tokenizer.vocabulary();
    let is_text = |id: &TokenId| {
        !matches!(kinds.kind(*id), TokenKind::Control | TokenKind::Unknown | TokenKind::Unused)
    };
    let ids = (0..tokenizer.len() as TokenId).filter(is_text);
    ids.map(|id| {
        let piece = tokenizer.piece(id).unwrap_or_default().into_owned();
        Shown { id, piece, uses: uses[id as usize] }
    })
    .collect()
}

/// The share of all tokens of the texts that the most frequent parts of the vocabulary make up.
fn coverage(tokens: &[Shown], total: u64) -> Vec<(usize, f64)> {
    let mut uses: Vec<u64> = tokens.iter().map(|token| token.uses).collect();
    uses.sort_unstable_by_key(|&uses| Reverse(uses));
    let share = |part: usize| {
        let count = (uses.len() * part).div_ceil(100);
        ratio(uses[..count].iter().sum(), total)
    };
    COVERAGE.map(|part| (part, share(part))).to_vec()
}

/// `of / through`, or 0 where there is nothing.
fn ratio(of: u64, through: u64) -> f64 {
    if through == 0 { 0.0 } else { of as f64 / through as f64 }
}

/// The longest tokens first.
fn longest(tokens: &mut [Shown]) {
    tokens.sort_by_key(|token| (Reverse(token.piece.len()), token.id));
}

fn describe(kind: &Kind) -> Value {
    json!({
        "texts": kind.texts,
        "bytes": kind.bytes,
        "characters": kind.characters,
        "words": kind.words,
        "tokens": kind.tokens,
        "bytes_per_token": ratio(kind.bytes, kind.tokens),
        "tokens_per_word": ratio(kind.tokens, kind.words),
        "single_byte_share": ratio(kind.bytes_alone, kind.tokens),
    })
}

pub(super) fn json(tokenizer: &Tokenizer, report: &Report, top: usize) -> Result<()> {
    let mut tokens = text_tokens(tokenizer, &report.uses);
    let coverage: Vec<_> = coverage(&tokens, report.all.tokens)
        .into_iter()
        .map(|(part, share)| json!({ "vocabulary": part as f64 / 100.0, "tokens": share }))
        .collect();
    longest(&mut tokens);
    let shown = |token: &Shown| {
        json!({
            "id": token.id, "text": String::from_utf8_lossy(&token.piece),
            "bytes": token.piece.len(), "uses": token.uses
        })
    };
    let (unused, used): (Vec<_>, Vec<_>) = tokens.iter().partition(|token| token.uses == 0);
    let kinds: Map<String, Value> =
        report.kinds.iter().map(|(name, kind)| (name.clone(), describe(kind))).collect();
    output::json(&json!({
        "tokens": tokenizer.len(),
        "kinds": kinds,
        "all": describe(&report.all),
        "used": used.len(),
        "unused": unused.len(),
        "unused_ids": unused.iter().map(|token| token.id).collect::<Vec<_>>(),
        "longest": tokens.iter().take(top).map(shown).collect::<Vec<_>>(),
        "coverage": coverage,
        "encode_seconds": report.encoding.as_secs_f64(),
    }))
}

pub(super) fn table(
    tokenizer: &Tokenizer,
    report: &Report,
    top: usize,
    environment: &Environment,
) -> Result<()> {
    let paint = Paint::new(environment.colour);
    let names = report.kinds.keys().map(|name| style::harmless(name));
    let mut rows: Vec<(String, &Kind)> = names.zip(report.kinds.values()).collect();
    if rows.len() > 1 {
        rows.push(("all".to_owned(), &report.all));
    }
    let column = rows.iter().map(|(name, _)| name.width()).max().unwrap_or(0).max(4);
    output::line(paint.bold(format!(
        "{:<column$}  {:>7}  {:>8}  {:>7}  {:>11}  {:>11}  {:>12}",
        "KIND", "TEXTS", "BYTES", "TOKENS", "BYTES/TOKEN", "TOKENS/WORD", "SINGLE BYTES"
    )))?;
    for (name, kind) in rows {
        let padding = " ".repeat(column - name.width());
        output::line(format!(
            "{name}{padding}  {:>7}  {:>8}  {:>7}  {:>11.3}  {:>11.3}  {:>10.3} %",
            kind.texts,
            style::bytes(kind.bytes),
            style::count(kind.tokens),
            ratio(kind.bytes, kind.tokens),
            ratio(kind.tokens, kind.words),
            100.0 * ratio(kind.bytes_alone, kind.tokens)
        ))?;
    }
    let mut tokens = text_tokens(tokenizer, &report.uses);
    let coverage = coverage(&tokens, report.all.tokens);
    longest(&mut tokens);
    let unused: Vec<&Shown> = tokens.iter().filter(|token| token.uses == 0).collect();
    output::line("")?;
    output::line(format!(
        "vocabulary  {} tokens; {} are text, of which {} occur and {} ({:.1} %) do not",
        tokenizer.len(),
        tokens.len(),
        tokens.len() - unused.len(),
        unused.len(),
        100.0 * ratio(unused.len() as u64, tokens.len() as u64)
    ))?;
    let points: Vec<_> =
        coverage.iter().map(|(part, share)| format!("{part} %: {:.1} %", 100.0 * share)).collect();
    output::line(format!("coverage    of the texts by the most frequent {}", points.join(", ")))?;
    let shown = |token: &&Shown| {
        let uses = token.uses;
        format!("{} ({} bytes, {uses}x)", style::visible(&token.piece), token.piece.len())
    };
    let list = |tokens: &mut dyn Iterator<Item = &Shown>| {
        tokens.take(top).map(|token| shown(&token)).collect::<Vec<_>>().join("  ")
    };
    output::line(format!("longest     {}", list(&mut tokens.iter())))?;
    if !unused.is_empty() {
        output::line(format!("unused      {}", list(&mut unused.iter().copied())))?;
    }
    let speed = ratio(report.all.bytes, report.encoding.as_nanos() as u64) * 1e3;
    output::line(paint.dim(format!("encoded at {speed:.0} MB/s on one thread")))
}
