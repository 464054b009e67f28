//! `POST /v1/completions`: continues texts as they stand.
//!
//! Text of prompts is text: spellings of control tokens in it are not the tokens. Whoever wants
//! those sends tokens.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use lucid_provider::{Answer, LogProbs, Prompt, Stop, Turn};
use serde_json::{Value, json};

use crate::app::{App, Caller};
use crate::body::Body;
use crate::json::{Fields, Node};
use crate::limits;
use crate::openai::chat::{Manner, stop_tokens};
use crate::openai::narrate::{Head, IncludeUsage, Totals, add_hint, finish_reason};
use crate::openai::sampling::{output_format, sampling, stops};
use crate::openai::text_chunks::{TextChunks, text_log_probs};
use crate::refusal::Refusal;
use crate::registry::Lease;
use crate::stream::{Wire, stream};

/// Where the protocol ends an answer if nothing is said.
const NEW_TOKENS_DEFAULT: usize = 16;

/// What answers are called, whole and in chunks.
pub(crate) const OBJECT: &str = "text_completion";

/// What is asked for.
struct Asked {
    prompts: Vec<Prompt>,
    /// What follows the gap that each prompt ends with, where gaps are to be filled.
    suffix: Option<String>,
    /// Everything but the prompt.
    turn: Turn,
    /// Answers to tell, of `turn.samples`.
    samples: usize,
    echo: Echo,
    /// What was asked for, not what is needed to choose the best.
    log_probs: Option<LogProbs>,
}

/// Whether the prompt stands before its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Echo {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// Continues texts.
pub(crate) async fn complete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(mut body, share): Body,
) -> Result<Response, Refusal> {
    let Manner { model, streams, include } = Manner::read(&mut body)?;
    let asked = asked(&mut body)?;
    if streams && asked.samples < asked.turn.samples {
        return Err(body.refuse("best_of", "the best is known at the end only: no `stream` then"));
    }
    let lease = app.lease(model.as_deref()).await?;
    let echoes = match asked.echo {
        Echo::Yes => texts(&lease, &asked.prompts).await?,
        Echo::No => Vec::new(),
    };
    let head = Head::new("cmpl-", &lease);
    let made = asked.turn.samples;
    let told =
        Told { head, include, echoes, per_prompt: asked.samples, log_probs: asked.log_probs };
    // One by one, as they are asked: what all have in common may be large, and there may be many.
    let turns = asked.prompts.into_iter().map(move |prompt| {
        let prompt = with_suffix(prompt, asked.suffix.as_deref());
        Turn { prompt, ..asked.turn.clone() }
    });
    let mut reply = app.ask_all(&caller, lease, turns).await?;
    drop(share);
    if streams {
        reply.begun().await?;
        return Ok(stream(reply, TextChunks::new(told), Wire::Events));
    }
    let answers = reply.gather().await?;
    Ok(Json(told.whole(&answers, made)).into_response())
}

/// What answers are told with.
pub(crate) struct Told {
    pub(crate) head: Head,
    pub(crate) include: IncludeUsage,
    /// The prompts' texts, if they stand before the answers.
    pub(crate) echoes: Vec<String>,
    /// Answers that are told to each prompt.
    pub(crate) per_prompt: usize,
    pub(crate) log_probs: Option<LogProbs>,
}

fn asked(body: &mut Fields) -> Result<Asked, Refusal> {
    let suffix = body.text("suffix")?;
    let prompts = many(body.need("prompt")?)?;
    if suffix.is_some() && prompts.iter().any(|prompt| !matches!(prompt, Prompt::Text(_))) {
        return Err(body.refuse("suffix", "it needs a prompt of text"));
    }
    let samples = body.count("n", limits::SAMPLES)?.unwrap_or(1);
    let best_of = body.count("best_of", limits::SAMPLES)?.unwrap_or(samples);
    if best_of < samples {
        return Err(body.refuse("best_of", "it must not be less than `n`"));
    }
    if prompts.len() * best_of > limits::SAMPLES_ALL_MAX {
        let most = limits::SAMPLES_ALL_MAX;
        let why = format!("a request may have {most} answers at most, to all its prompts");
        return Err(body.refuse("n", &why));
    }
    let echo = if body.flag("echo")?.unwrap_or(false) { Echo::Yes } else { Echo::No };
    let log_probs = body
        .count("logprobs", limits::ALTERNATIVES)?
        .map(|alternatives| LogProbs { alternatives, prompt: echo == Echo::Yes });
    let most = body.count("max_tokens", limits::NEW_TOKENS_OR_NONE)?;
    if most == Some(0) && echo == Echo::No {
        return Err(body.refuse("max_tokens", "0 needs `echo`: nothing would be answered"));
    }
    // The best is the one whose tokens are the most probable on average.
    let needed = (best_of > samples).then_some(LogProbs::default());
    let turn = Turn {
        sampling: sampling(body)?,
        new_tokens_max: Some(most.unwrap_or(NEW_TOKENS_DEFAULT)),
        stops: stops(body)?,
        stop_tokens: stop_tokens(body)?,
        ignore_end: body.flag("ignore_eos")?.unwrap_or(false),
        format: output_format(body)?,
        log_probs: log_probs.or(needed),
        samples: best_of,
        adapter: body.name("lora")?,
        ..Turn::default()
    };
    Ok(Asked { prompts, suffix, turn, samples, echo, log_probs })
}

/// The gap between a text and what follows it.
fn with_suffix(prompt: Prompt, suffix: Option<&str>) -> Prompt {
    match (prompt, suffix) {
        (Prompt::Text(text), Some(suffix)) => {
            Prompt::Infill { prefix: text.text, suffix: suffix.to_owned() }
        }
        (prompt, _) => prompt,
    }
}

/// Texts or lists of tokens, one or several.
pub(crate) fn many(node: Node) -> Result<Vec<Prompt>, Refusal> {
    let expected = "a string, a list of strings, a list of tokens, or a list of those";
    if node.value.is_string() {
        return Ok(vec![Prompt::text(node.text()?)]);
    }
    let Some(first) = node.value.as_array().map(|list| list.first()) else {
        return Err(node.refuse(expected));
    };
    match first {
        None => Err(node.refuse(expected)),
        Some(Value::Number(_)) => Ok(vec![prompt_of(node)?]),
        Some(_) => {
            let each = |node: Node| match &node.value {
                Value::String(_) => Ok(Prompt::text(node.text()?)),
                Value::Array(_) => prompt_of(node),
                _ => Err(node.refuse("a string or a list of tokens")),
            };
            node.list(limits::PROMPTS_MAX)?.into_iter().map(each).collect()
        }
    }
}

/// A prompt of tokens.
fn prompt_of(node: Node) -> Result<Prompt, Refusal> {
    if node.value.as_array().is_some_and(Vec::is_empty) {
        let message = format!("`{}` must not be empty", node.path);
        return Err(Refusal::invalid(node.path, message));
    }
    Ok(Prompt::Tokens(tokens(node)?))
}

/// A list of tokens. There may be many: a path is made only for one that is wrong.
pub(crate) fn tokens(node: Node) -> Result<Vec<u32>, Refusal> {
    let Node { value: Value::Array(values), path } = node else {
        return Err(node.refuse("a list of tokens"));
    };
    let token = |(index, value): (usize, Value)| {
        let known = value.as_u64().and_then(|token| u32::try_from(token).ok());
        let wrong = || Node { value, path: format!("{path}[{index}]") }.refuse("a token's number");
        known.ok_or_else(wrong)
    };
    values.into_iter().enumerate().map(token).collect()
}

/// The prompts' texts.
async fn texts(lease: &Lease, prompts: &[Prompt]) -> Result<Vec<String>, Refusal> {
    let prompts = prompts.to_vec();
    lease
        .run(move |provider| {
            let text = |prompt| match prompt {
                Prompt::Tokens(tokens) => {
                    Ok(String::from_utf8_lossy(&provider.decode(&tokens)?).into_owned())
                }
                Prompt::Text(text) => Ok(text.text),
                Prompt::Infill { prefix, .. } => Ok(prefix),
                Prompt::Chat { .. } => Ok(String::new()),
            };
            prompts.into_iter().map(text).collect()
        })
        .await
}

impl Told {
    /// The answers whole. There are `made` to each prompt, of which the best are told.
    fn whole(&self, answers: &[Answer], made: usize) -> Value {
        let mut totals = Totals::default();
        let mut choices = Vec::new();
        for (index, group) in answers.chunks(made.max(1)).enumerate() {
            let mut part = Totals::default();
            for answer in group {
                part.add(&answer.usage);
            }
            totals.add_prompt(&part);
            let prompt = group.first().map_or(&[][..], |answer| answer.prompt.as_slice());
            let mut ranked: Vec<&Answer> = group.iter().collect();
            if made > self.per_prompt {
                ranked.sort_by(|a, b| mean_log_prob(b).total_cmp(&mean_log_prob(a)));
            }
            for answer in ranked.into_iter().take(self.per_prompt) {
                let echo = self.echoes.get(index).map_or("", String::as_str);
                let told = self.log_probs.map(|_| text_log_probs(prompt, &answer.tokens, 0));
                let stop = answer.stop.clone().unwrap_or(Stop::Cancelled);
                let mut choice = json!({
                    "index": choices.len(),
                    "text": format!("{echo}{}", answer.text),
                    "logprobs": told,
                    "finish_reason": finish_reason(&stop),
                });
                add_hint(&mut choice, &stop);
                choices.push(choice);
            }
        }
        let mut whole = self.head.with(OBJECT, &choices.into());
        whole["usage"] = totals.json();
        whole
    }
}

fn mean_log_prob(answer: &Answer) -> f64 {
    let values = answer.tokens.iter().filter_map(|spoken| spoken.log_prob.as_ref());
    let (sum, count) = values.fold((0.0, 0), |(sum, count), it| (sum + it.value, count + 1));
    if count == 0 { f64::NEG_INFINITY } else { sum / f64::from(count) }
}
