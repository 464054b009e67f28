//! One answer: the prompt is computed in chunks, then token after token is chosen, decoded and
//! handed on.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use lucid_engine::sampler::{
    DryConfig, DynamicTemperature, PenaltyConfig, Sampler, SamplerConfig, XtcConfig,
};
use lucid_engine::{Engine, Feed, SequenceId, Wanted};
use lucid_tensor::TokenId;
use lucid_tokenizer::{AddSpecial, ParseSpecial, StreamDecoder, Tokenizer};

use crate::args::SamplingArgs;
use crate::interrupt::Listening;

/// Rows of a prompt per pass: enough for the kernels, little enough for Ctrl-C to be quick.
const PREFILL_CHUNK: usize = 256;

/// Progress is shown for what takes longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The model said so.
    End,
    /// As many tokens as were asked for.
    Limit,
    /// The context is full.
    Context,
    /// Ctrl-C.
    Interrupted,
}

impl Stop {
    /// The word that `--json` prints.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Limit => "limit",
            Self::Context => "context",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What an answer took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) stop: Stop,
    pub(crate) prompt_tokens: usize,
    pub(crate) prompt_time: Duration,
    pub(crate) answer_tokens: usize,
    pub(crate) answer_time: Duration,
}

impl Outcome {
    /// One line for a person.
    pub(crate) fn summary(&self) -> String {
        let rate = |tokens: usize, time: Duration| tokens as f64 / time.as_secs_f64().max(1e-9);
        format!(
            "prompt {} tokens, {:.1} tok/s; answer {} tokens, {:.1} tok/s",
            self.prompt_tokens,
            rate(self.prompt_tokens, self.prompt_time),
            self.answer_tokens,
            rate(self.answer_tokens, self.answer_time),
        )
    }
}

/// The sampler that the flags describe.
pub(crate) fn sampler(args: &SamplingArgs, tokenizer: &Tokenizer) -> Result<Sampler> {
    let config = SamplerConfig {
        logit_bias: args.logit_bias.iter().map(|text| bias(text)).collect::<Result<_>>()?,
        penalties: PenaltyConfig {
            repeat: args.repeat_penalty,
            frequency: args.frequency_penalty,
            presence: args.presence_penalty,
            last_n: Some(args.repeat_last_n),
        },
        dry: DryConfig {
            multiplier: args.dry_multiplier,
            base: args.dry_base,
            allowed_length: args.dry_allowed_length,
            breakers: if args.dry_multiplier == 0.0 {
                Vec::new()
            } else {
                breakers(&args.dry_breaker, tokenizer)
            },
            ..SamplerConfig::default().dry
        },
        top_n_sigma: args.top_n_sigma,
        top_k: args.top_k,
        typical_p: args.typical,
        top_p: args.top_p,
        min_p: args.min_p,
        xtc: XtcConfig { probability: args.xtc_probability, threshold: args.xtc_threshold },
        temperature: args.temp,
        dynamic_temperature: DynamicTemperature {
            range: args.dynatemp_range,
            ..SamplerConfig::default().dynamic_temperature
        },
        seed: args.seed.unwrap_or_else(fresh_seed),
    };
    Ok(Sampler::new(config)?)
}

fn bias(text: &str) -> Result<(TokenId, f32)> {
    let parsed = text.split_once('=').and_then(|(id, bias)| {
        Some((id.trim().parse::<TokenId>().ok()?, bias.trim().parse::<f32>().ok()?))
    });
    parsed.ok_or_else(|| anyhow::anyhow!("--logit-bias {text}: expected ID=BIAS, such as 13=-inf"))
}

/// Texts as token sequences: each token that holds the text, and the tokens that spell it. As in
/// llama.cpp's `get_overlapping_token_sequences`, without its sequences that merely overlap the
/// text's beginning.
fn breakers(texts: &[String], tokenizer: &Tokenizer) -> Vec<Vec<TokenId>> {
    let mut found = Vec::new();
    for text in texts.iter().map(String::as_bytes).filter(|text| !text.is_empty()) {
        let holds = |id: &TokenId| {
            let piece = tokenizer.piece(*id);
            piece.is_some_and(|piece| piece.windows(text.len()).any(|part| part == text))
        };
        found.extend((0..tokenizer.len() as TokenId).filter(holds).map(|id| vec![id]));
        let spelled = spelled(text, tokenizer);
        if spelled.len() > 1 {
            found.push(spelled);
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The tokens of a text in the middle of another: without the space that some vocabularies put in
/// front.
fn spelled(text: &[u8], tokenizer: &Tokenizer) -> Vec<TokenId> {
    let mut ids = tokenizer.encode(text, &[], AddSpecial::No, ParseSpecial::No);
    let first = ids.first().and_then(|&id| tokenizer.piece(id));
    if first.as_deref() == Some(b" ") && text.first() != Some(&b' ') {
        ids.remove(0);
    }
    ids
}

fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_nanos() as u64)
}

/// One sequence of an engine, with what its next answer needs.
pub(crate) struct Session<'a> {
    pub(crate) engine: &'a mut Engine,
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) sequence: SequenceId,
    pub(crate) sampler: Sampler,
    pub(crate) progress: bool,
}

/// Limits of one answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Tokens, if bounded.
    pub(crate) max_tokens: Option<usize>,
    /// Whether a begin-of-text token ends the answer: the model dreams of the next document.
    pub(crate) stop_at_bos: bool,
}

impl Session<'_> {
    /// Brings the sequence to hold exactly `prompt`, reusing what it holds already, and streams the
    /// answer.
    ///
    /// `on_text` is given text as it becomes complete. Interruption leaves the sequence valid.
    pub(crate) fn answer(
        &mut self,
        prompt: &[TokenId],
        mut decoder: StreamDecoder<'_>,
        limits: Limits,
        listening: &Listening,
        on_text: &mut dyn FnMut(TokenId, &str) -> Result<()>,
    ) -> Result<Outcome> {
        self.check_room(prompt)?;
        let context = self.engine.options().context;
        let started = Instant::now();
        let reused = self.reuse(prompt)?;
        self.sampler.reset();
        for &token in prompt {
            self.sampler.accept(token);
        }
        let mut next = self.prefill(&prompt[reused..], listening)?;
        let prompt_time = started.elapsed();
        let started = Instant::now();
        let mut answer_tokens = 0;
        let stop = loop {
            let Some(token) = next else { break Stop::Interrupted };
            if limits.max_tokens == Some(0) {
                break Stop::Limit;
            }
            if self.tokenizer.is_end_of_generation(token)
                || (limits.stop_at_bos && Some(token) == self.tokenizer.bos())
            {
                break Stop::End;
            }
            self.sampler.accept(token);
            on_text(token, decoder.push(token))?;
            answer_tokens += 1;
            if limits.max_tokens.is_some_and(|limit| answer_tokens >= limit) {
                break Stop::Limit;
            }
            if listening.interrupted() {
                break Stop::Interrupted;
            }
            if self.engine.tokens(self.sequence)?.len() == context {
                break Stop::Context;
            }
            next = self.step(&[token], Wanted::Last)?;
        };
        let rest = decoder.finish();
        if !rest.is_empty() {
            on_text(0, rest)?;
        }
        self.next_seed()?;
        Ok(Outcome {
            stop,
            prompt_tokens: prompt.len() - reused,
            prompt_time,
            answer_tokens,
            answer_time: started.elapsed(),
        })
    }

    /// A prompt that does not fit is refused, not cut.
    pub(crate) fn check_room(&self, prompt: &[TokenId]) -> Result<()> {
        let (needed, context) = (prompt.len(), self.engine.options().context);
        if needed > context {
            bail!(
                "the prompt takes {needed} tokens, but the context has room for {context}; \
                 --ctx makes it larger"
            );
        }
        Ok(())
    }

    /// The next answer draws other random numbers; which ones, the first seed still decides.
    fn next_seed(&mut self) -> Result<()> {
        let mut config = self.sampler.config().clone();
        config.seed = config.seed.wrapping_add(1);
        self.sampler = Sampler::new(config)?;
        Ok(())
    }

    /// Keeps the common beginning of what the sequence holds and `prompt`; at least one token is
    /// left to compute.
    fn reuse(&mut self, prompt: &[TokenId]) -> Result<usize> {
        let held = self.engine.tokens(self.sequence)?;
        let common = held.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        let common = common.min(prompt.len().saturating_sub(1));
        self.engine.truncate(self.sequence, common)?;
        Ok(common)
    }

    /// Computes the prompt; the first token of the answer, or `None` where Ctrl-C came before.
    fn prefill(&mut self, prompt: &[TokenId], listening: &Listening) -> Result<Option<TokenId>> {
        let mut bar = None;
        let mut done = 0;
        let started = Instant::now();
        let mut chunks = prompt.chunks(PREFILL_CHUNK).peekable();
        while let Some(chunk) = chunks.next() {
            let wanted = if chunks.peek().is_none() { Wanted::Last } else { Wanted::None };
            let token = self.step(chunk, wanted)?;
            if token.is_some() {
                if let Some(bar) = bar {
                    ProgressBar::finish_and_clear(&bar);
                }
                return Ok(token);
            }
            if listening.interrupted() {
                break;
            }
            done += chunk.len();
            if self.progress && started.elapsed() > PATIENCE {
                bar.get_or_insert_with(|| prompt_bar(prompt.len())).set_position(done as u64);
            }
        }
        Ok(None)
    }

    /// One pass; the token that follows, where logits are wanted.
    fn step(&mut self, tokens: &[TokenId], wanted: Wanted) -> Result<Option<TokenId>> {
        let feed = Feed { sequence: self.sequence, tokens, wanted };
        let logits = self.engine.forward(&[feed])?;
        if wanted == Wanted::None {
            return Ok(None);
        }
        Ok(Some(self.sampler.sample(logits.last())?.token))
    }
}

fn prompt_bar(tokens: usize) -> ProgressBar {
    let bar = ProgressBar::new(tokens as u64);
    let template = "reading the prompt {bar:30} {pos} of {len} tokens, {eta} left";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
