//! The report of a run, written into its folder.

use std::path::Path;

use anyhow::{Context as _, Result};
use lucid_kernels::Multiplier;
use lucid_train::data::{Prepared, Side};
use lucid_train::record::{Event, Summary, events, report};
use lucid_train::{Ended, Precision, Reason, Validation};

use super::live::{apart, time};
use crate::style;

/// Floating-point operations per second of multiply-adds on so many threads: of those in f32, and
/// where products are of bfloat16 and the processor is faster at them, of those.
pub(in crate::commands) fn peak(threads: usize, precision: Precision) -> f64 {
    let of: &[Multiplier] = match precision {
        Precision::Bf16 => &[Multiplier::F32, Multiplier::Bf16],
        Precision::F32 => &[Multiplier::F32],
    };
    crate::commands::bench::ceilings::multiply_peak(threads, of)
}

/// Writes `report.md` and `curves.svg`.
pub(in crate::commands) fn write(
    folder: &Path,
    reasons: &[Reason],
    data: Vec<(String, String)>,
    ended: &Ended,
) -> Result<()> {
    let events = events(folder)?;
    let summary = Summary { plan: reasons.to_vec(), data, outcome: outcome(&events, ended) };
    let (text, picture) = report(&summary, &events);
    for (name, content) in [("report.md", text), ("curves.svg", picture)] {
        let path = folder.join(name);
        lucid_sys::write_atomic(&path, |out| out.write_all(content.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// What was learned from, and what was held out.
pub(super) fn sides(data: &Prepared) -> Vec<(String, String)> {
    let sides = [("to learn from", Side::Training), ("held out", Side::Validation)];
    let lines = sides.map(|(name, side)| {
        let entries = data.entries(side);
        let sum = |of: fn(&lucid_train::data::ShardEntry) -> u64| entries.iter().map(of).sum();
        let (documents, tokens): (u64, u64) = (sum(|e| e.documents), sum(|e| e.tokens));
        let bytes = style::bytes(sum(|e| e.text_bytes));
        let documents = style::count(documents);
        let tokens = style::count(tokens);
        (name.to_owned(), format!("{documents} documents, {bytes}, {tokens} tokens"))
    });
    lines.to_vec()
}

fn outcome(events: &[Event], ended: &Ended) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    let mut put = |name: &str, value: String| lines.push((name.to_owned(), value));
    if let Ended::Finished { validation, .. } = ended {
        let Validation { loss, bits_per_byte, told, targets, bytes, .. } = *validation;
        if let Some(told) = told {
            put("held-out comparisons", format!("{}, loss {loss:.4}", apart(&told)));
            if bytes > 0 {
                put("held-out good answers", format!("{bits_per_byte:.4} bits a byte"));
            }
        } else {
            let text = format!("{bits_per_byte:.4} bits a byte, {loss:.4} nats a token");
            put("held-out text", text);
        }
        put("measured on", format!("all of it: {bytes} bytes in {targets} tokens"));
    } else {
        put("held-out text", "stopped before the end".to_owned());
    }
    let steps = events.iter().filter_map(|event| match event {
        Event::Step { step, tokens, seconds, .. } => Some((*step, *tokens, *seconds)),
        _ => None,
    });
    let (mut last, mut all, mut took) = (0, 0, 0.0_f64);
    for (step, tokens, seconds) in steps {
        (last, all, took) = (step, all + tokens, took.max(seconds));
    }
    put("steps", style::count(last));
    put("tokens", style::count(all));
    put("time", time(took));
    put("tokens a second", format!("{:.0}, looks and checkpoints included", all as f64 / took));
    lines
}
