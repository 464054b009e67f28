//! Chunks of completions, and log-probabilities in their words.

use lucid_provider::{Delta, Spoken};
use serde_json::{Map, Value, json};

use crate::openai::completions::{OBJECT, Told};
use crate::openai::narrate::{Chunks, Totals, add_hint, fail, finish_reason, finite};
use crate::refusal::Refusal;
use crate::stream::Narrator;

/// Tells completions in chunks.
pub(crate) struct TextChunks {
    chunks: Chunks,
    told: Told,
    turn: usize,
    /// For each prompt: what its answers took.
    totals: Vec<Totals>,
    /// Tokens of the prompt whose log-probabilities wait to be told.
    prompt: Vec<Vec<Spoken>>,
    /// For each answer: how many characters of it were told; none before the first.
    told_chars: Vec<Option<usize>>,
}

impl TextChunks {
    /// Chunks of answers that are told so.
    pub(crate) fn new(told: Told) -> Self {
        let chunks = Chunks { head: told.head.clone(), object: OBJECT, usage: told.include };
        Self {
            chunks,
            told,
            turn: 0,
            totals: Vec::new(),
            prompt: Vec::new(),
            told_chars: Vec::new(),
        }
    }

    /// A part of an answer; the first part has the prompt before it, if that is wanted.
    fn part(&mut self, sample: usize, text: &str, tokens: &[Spoken], out: &mut String) {
        if self.told_chars.len() <= sample {
            self.told_chars.resize(sample + 1, None);
        }
        let prompt = sample / self.told.per_prompt.max(1);
        let (mut whole, mut before) = (String::new(), &[][..]);
        let told = self.told_chars[sample];
        if told.is_none() {
            whole.push_str(self.told.echoes.get(prompt).map_or("", String::as_str));
            before = self.prompt.get(prompt).map_or(&[][..], Vec::as_slice);
        }
        whole.push_str(text);
        if whole.is_empty() && tokens.is_empty() {
            return;
        }
        let offset = told.unwrap_or(0);
        let log_probs = self.told.log_probs.map(|_| text_log_probs(before, tokens, offset));
        let choice = json!({
            "index": sample, "text": whole, "logprobs": log_probs, "finish_reason": null,
        });
        self.told_chars[sample] = Some(offset + whole.chars().count());
        self.chunks.choice(&choice, out);
    }
}

impl Narrator for TextChunks {
    fn turn_to(&mut self, turn: usize) {
        self.turn = turn;
    }

    fn tell(&mut self, delta: Delta, out: &mut String) {
        match delta {
            Delta::Prompt(spoken) => {
                if self.prompt.len() <= self.turn {
                    self.prompt.resize_with(self.turn + 1, Vec::new);
                }
                self.prompt[self.turn].push(spoken);
            }
            Delta::Text { sample, text, tokens } => {
                if !text.is_empty() || self.told.log_probs.is_some() {
                    self.part(sample, &text, &tokens, out);
                }
            }
            Delta::Finished { sample, stop, usage } => {
                // An answer without a token has its prompt told all the same.
                if self.told_chars.get(sample).copied().flatten().is_none() {
                    self.part(sample, "", &[], out);
                }
                if self.totals.len() <= self.turn {
                    self.totals.resize_with(self.turn + 1, Totals::default);
                }
                self.totals[self.turn].add(&usage);
                let mut choice = json!({
                    "index": sample, "text": "", "logprobs": null,
                    "finish_reason": finish_reason(&stop),
                });
                add_hint(&mut choice, &stop);
                self.chunks.choice(&choice, out);
            }
            Delta::Begun { .. }
            | Delta::Signature { .. }
            | Delta::Reasoning { .. }
            | Delta::CallBegun { .. }
            | Delta::CallArguments { .. } => {}
        }
    }

    fn end(&mut self, out: &mut String) {
        let mut totals = Totals::default();
        self.totals.iter().for_each(|part| totals.add_prompt(part));
        self.chunks.end(&totals, out);
    }

    fn fail(&mut self, refusal: &Refusal, out: &mut String) {
        fail(refusal, out);
    }
}

/// Log-probabilities in the words of completions: lists side by side. `offset` is where the first
/// token begins in the text, in characters.
pub(crate) fn text_log_probs(prompt: &[Spoken], tokens: &[Spoken], offset: usize) -> Value {
    let (mut texts, mut values) = (Vec::new(), Vec::new());
    let (mut top, mut offsets) = (Vec::new(), Vec::new());
    let mut at = offset;
    for spoken in prompt.iter().chain(tokens) {
        let text = String::from_utf8_lossy(&spoken.bytes);
        offsets.push(at);
        at += text.chars().count();
        texts.push(json!(text));
        if let Some(log_prob) = &spoken.log_prob {
            values.push(json!(finite(log_prob.value)));
            let mut map = Map::new();
            for (_, bytes, value) in &log_prob.alternatives {
                let text = String::from_utf8_lossy(bytes).into_owned();
                map.entry(text).or_insert(json!(finite(*value)));
            }
            top.push(Value::Object(map));
        } else {
            // The first token of a prompt has nothing before it.
            values.push(Value::Null);
            top.push(Value::Null);
        }
    }
    json!({
        "tokens": texts, "token_logprobs": values, "top_logprobs": top, "text_offset": offsets,
    })
}
