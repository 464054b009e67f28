//! One answer of a provider: asked for, waited for, handed on, and stopped by Ctrl-C.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use lucid_engine::sampler::SamplerConfig;
use lucid_provider::{
    Delta, OutputFormat, Provider, ProviderError, Sampling, Spoken, Stop as Ended, Turn, Usage,
    Waited,
};
use lucid_tensor::TokenId;

use crate::args::SamplingArgs;
use crate::interrupt::Listening;

/// How often Ctrl-C is looked for while nothing comes.
const HEARTBEAT: Duration = Duration::from_millis(50);

/// Progress is shown for what takes longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The model said so.
    End,
    /// A stop text came.
    Text,
    /// As many tokens as were asked for.
    Limit,
    /// The context is full.
    Context,
    /// A remote API held it back.
    Refused,
    /// Ctrl-C.
    Interrupted,
}

impl Stop {
    /// The word that `--json` prints.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::End | Self::Text => "end",
            Self::Limit => "limit",
            Self::Context => "context",
            Self::Refused => "refused",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What an answer took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) stop: Stop,
    /// Tokens of the prompt that were computed.
    pub(crate) prompt_tokens: usize,
    pub(crate) prompt_time: Duration,
    pub(crate) answer_tokens: usize,
    pub(crate) answer_time: Duration,
    /// Tokens of prompt and answer together.
    pub(crate) held: usize,
    /// What a remote API charges, in US dollars, where that is known.
    pub(crate) cost_usd: Option<f64>,
}

impl Outcome {
    /// Why the answer is not what was asked for, where that is so: it was held back, or its format
    /// was not kept to up to the end.
    pub(crate) fn lacking(&self, format: &OutputFormat) -> Option<&'static str> {
        match self.stop {
            Stop::Refused => Some("the API held the answer back, or a part of it"),
            Stop::Limit | Stop::Context | Stop::Text if *format != OutputFormat::Free => {
                Some("the answer was cut: it is not whole, and not what its format demands")
            }
            _ => None,
        }
    }

    /// One line for a person.
    pub(crate) fn summary(&self) -> String {
        let rate = |tokens: usize, time: Duration| tokens as f64 / time.as_secs_f64().max(1e-9);
        let cost = self.cost_usd.map_or_else(String::new, |cost| format!("; cost {cost:.6} USD"));
        format!(
            "prompt {} tokens, {:.1} tok/s; answer {} tokens, {:.1} tok/s{cost}",
            self.prompt_tokens,
            rate(self.prompt_tokens, self.prompt_time),
            self.answer_tokens,
            rate(self.answer_tokens, self.answer_time),
        )
    }
}

/// The sampling that the flags describe, for a model on this machine: what is not given is as the
/// engine has it, whatever the model's makers recommend. Without `--seed` it is new each time.
pub(crate) fn sampling(args: &SamplingArgs) -> Result<Sampling> {
    let (given, usual) = (sampling_given(args)?, SamplerConfig::default());
    let penalties = usual.penalties;
    Ok(Sampling {
        temperature: given.temperature.or(Some(usual.temperature)),
        top_k: given.top_k.or(Some(usual.top_k)),
        top_p: given.top_p.or(Some(usual.top_p)),
        min_p: given.min_p.or(Some(usual.min_p)),
        typical_p: given.typical_p.or(Some(usual.typical_p)),
        repeat_penalty: given.repeat_penalty.or(Some(penalties.repeat)),
        penalty_last_n: given.penalty_last_n.or(Some(penalties.last_n.unwrap_or(usize::MAX))),
        xtc_probability: given.xtc_probability.or(Some(usual.xtc.probability)),
        xtc_threshold: given.xtc_threshold.or(Some(usual.xtc.threshold)),
        seed: given.seed.or_else(|| Some(fresh_seed())),
        ..given
    })
}

/// What the flags say and no more, for a remote model: the rest is as its API has it.
pub(crate) fn sampling_given(args: &SamplingArgs) -> Result<Sampling> {
    Ok(Sampling {
        temperature: args.temp,
        top_k: args.top_k,
        top_p: args.top_p,
        min_p: args.min_p,
        typical_p: args.typical,
        top_n_sigma: args.top_n_sigma,
        repeat_penalty: args.repeat_penalty,
        frequency_penalty: args.frequency_penalty,
        presence_penalty: args.presence_penalty,
        penalty_last_n: args.repeat_last_n,
        dry_multiplier: args.dry_multiplier,
        dry_base: args.dry_base,
        dry_allowed_length: args.dry_allowed_length,
        dry_last_n: None,
        dry_breakers: (!args.dry_breaker.is_empty()).then(|| args.dry_breaker.clone()),
        xtc_probability: args.xtc_probability,
        xtc_threshold: args.xtc_threshold,
        dynamic_temperature_range: args.dynatemp_range,
        logit_bias: args.logit_bias.iter().map(|text| bias(text)).collect::<Result<_>>()?,
        seed: args.seed,
    })
}

fn bias(text: &str) -> Result<(TokenId, f32)> {
    let parsed = text.split_once('=').and_then(|(id, bias)| {
        Some((id.trim().parse::<TokenId>().ok()?, bias.trim().parse::<f32>().ok()?))
    });
    parsed.ok_or_else(|| anyhow::anyhow!("--logit-bias {text}: expected ID=BIAS, such as 13=-inf"))
}

fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_nanos() as u64)
}

/// A part of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Said<'a> {
    /// The answer goes on.
    Text(&'a str, &'a [Spoken]),
    /// The reasoning before it goes on.
    Reasoning(&'a str),
}

/// A prompt that was accepted, and is being answered.
pub(crate) struct Asked<'a> {
    provider: &'a dyn Provider,
    answers: lucid_provider::Answers,
    started: Instant,
    /// Rows that the engine had computed before.
    rows_before: u64,
    bar: Option<ProgressBar>,
}

/// Asks a provider.
///
/// A prompt that does not fit is refused, not cut.
pub(crate) fn ask(provider: &dyn Provider, turn: Turn) -> Result<Asked<'_>> {
    let rows_before = provider.stats().scheduler.rows;
    let started = Instant::now();
    match provider.generate(turn) {
        Ok(answers) => Ok(Asked { provider, answers, started, rows_before, bar: None }),
        Err(ProviderError::PromptTooLong { prompt_tokens, context }) => bail!(
            "the prompt takes {prompt_tokens} tokens, but the context has room for {context}; \
             --ctx makes it larger"
        ),
        Err(error) => Err(error.into()),
    }
}

impl Asked<'_> {
    /// Hands on what comes until the answer is over, or Ctrl-C was pressed.
    pub(crate) fn listen(
        mut self,
        listening: &Listening,
        show_progress: bool,
        on_said: &mut dyn FnMut(Said<'_>) -> Result<()>,
    ) -> Result<Outcome> {
        let (mut prompt_tokens, mut usage, mut stop) = (0, None::<Usage>, Stop::Interrupted);
        let (mut answer_tokens, mut first) = (0, None);
        while !listening.interrupted() {
            let delta = match self.answers.wait_for(HEARTBEAT) {
                Waited::Delta(delta) => delta?,
                Waited::Nothing => {
                    if show_progress && first.is_none() {
                        self.show_progress(prompt_tokens);
                    }
                    continue;
                }
                Waited::Over => break,
            };
            match delta {
                Delta::Begun { prompt_tokens: count, .. } => prompt_tokens = count,
                Delta::Text { text, tokens, .. } => {
                    self.begin(&mut first);
                    answer_tokens += tokens.len();
                    on_said(Said::Text(&text, &tokens))?;
                }
                Delta::Reasoning { text, tokens, .. } => {
                    self.begin(&mut first);
                    answer_tokens += tokens.len();
                    on_said(Said::Reasoning(&text))?;
                }
                Delta::Finished { stop: why, usage: used, .. } => {
                    stop = ended(&why);
                    usage = Some(used);
                }
                Delta::Prompt(_)
                | Delta::Signature { .. }
                | Delta::CallBegun { .. }
                | Delta::CallArguments { .. } => {}
            }
        }
        let over = Instant::now();
        let first = *first.get_or_insert(over);
        self.clear_progress();
        let cached = usage.map_or(0, |it| it.cached_tokens);
        // A remote API tells at the end only.
        let prompt_tokens = usage.map_or(prompt_tokens, |it| it.prompt_tokens);
        let answer_tokens = usage.map_or(answer_tokens, |it| it.new_tokens);
        Ok(Outcome {
            stop,
            prompt_tokens: prompt_tokens.saturating_sub(cached),
            prompt_time: first - self.started,
            answer_tokens,
            answer_time: over - first,
            held: prompt_tokens.saturating_add(answer_tokens),
            cost_usd: usage.and_then(|it| it.cost_usd),
        })
    }

    /// The first token is there.
    fn begin(&mut self, first: &mut Option<Instant>) {
        if first.is_none() {
            *first = Some(Instant::now());
            self.clear_progress();
        }
    }

    fn show_progress(&mut self, prompt_tokens: usize) {
        if self.started.elapsed() > PATIENCE {
            let done = self.provider.stats().scheduler.rows - self.rows_before;
            let bar = self.bar.get_or_insert_with(|| prompt_bar(prompt_tokens));
            bar.set_position(done.min(prompt_tokens as u64));
        }
    }

    fn clear_progress(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn ended(stop: &Ended) -> Stop {
    match stop {
        Ended::End | Ended::ToolCalls => Stop::End,
        Ended::Text(_) => Stop::Text,
        Ended::Refused => Stop::Refused,
        Ended::Length => Stop::Limit,
        Ended::ContextFull => Stop::Context,
        Ended::Cancelled => Stop::Interrupted,
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
