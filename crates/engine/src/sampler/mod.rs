//! Choosing the next token from a row of logits. Knows token ids and numbers, nothing about text.
//!
//! The chain, in this fixed order (llama.cpp's default, with the logit bias first), one file per
//! stage:
//!
//! `logit_bias`, `penalties` (repetition, frequency, presence), `dry`, `top_n_sigma`, `top_k`,
//! `typical`, `top_p`, `min_p`, `xtc`, `temperature`; then one draw from what is left.
//!
//! Every stage sees the distribution renormalised over the tokens that the stages before it left.
//! Each keeps at least one token; the most probable one is removed only by `typical` and `xtc`, as
//! their papers have it.
//!
//! Departures from llama.cpp: (1) temperature 0 skips everything after `dry`, so that greedy is
//! greedy with `xtc` or `typical` set, and with a dynamic temperature; (2) the draw looks at tokens
//! in a defined order, so that no tie depends on a sorting algorithm.
//!
//! Invariant: the same configuration, logits and accepted tokens give the same choices on every
//! platform. So sums run in a fixed order in f64, ties go to the lower id, nothing iterates over a
//! hash map, and `exp`, `ln` and the random numbers are our own (`math`, `random`).

mod candidates;
mod config;
mod dry;
mod history;
mod logit_bias;
mod math;
mod min_p;
mod penalties;
mod random;
mod temperature;
mod top_k;
mod top_n_sigma;
mod top_p;
mod typical;
mod xtc;

#[cfg(test)]
mod tests;

use lucid_tensor::TokenId;

use candidates::Candidates;
use history::{History, Tally};

pub use config::{
    DryConfig, DynamicTemperature, PenaltyConfig, SamplerConfig, SamplerError, XtcConfig,
};

/// The sampling chain of one sequence: settings, accepted tokens and the random generator. A clone
/// goes on exactly as the original would, so a forked sequence clones its sampler.
#[derive(Clone, Debug)]
pub struct Sampler {
    config: SamplerConfig,
    random: random::Pcg32,
    history: History,
    dry: dry::Dry,
}

/// Working memory of a call, some tens of bytes per token of the vocabulary. Nothing in it outlives
/// a call but its size, so samplers that take turns share one.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    tally: Tally,
    logits: Vec<f32>,
    candidates: Candidates,
}

impl Sampler {
    /// A sampler that has accepted nothing yet.
    ///
    /// # Errors
    /// A setting out of its range.
    pub fn new(config: SamplerConfig) -> Result<Self, SamplerError> {
        config.validate()?;
        let window = |on: bool, last_n| if on { last_n } else { Some(0) };
        let limit = history::longer(
            window(penalties::is_on(&config.penalties), config.penalties.last_n),
            window(dry::is_on(&config.dry), config.dry.last_n),
        );
        Ok(Self {
            random: random::Pcg32::new(config.seed),
            history: History::new(limit),
            dry: dry::Dry::new(&config.dry),
            config,
        })
    }

    /// The same sampler with another seed: what it has accepted stays, and its next random number
    /// is the first of that seed.
    #[must_use]
    pub fn with_seed(&self, seed: u64) -> Self {
        let mut sampler = self.clone();
        sampler.random = random::Pcg32::new(seed);
        sampler.config.seed = seed;
        sampler
    }

    /// The settings.
    pub fn config(&self) -> &SamplerConfig {
        &self.config
    }

    /// Chooses a token from `logits` (`[vocab]`). Does not accept it. Allocates nothing once the
    /// workspace has seen a row of this length.
    ///
    /// # Errors
    /// A logit that is NaN or positive infinity, a bias for a token outside of the row, or
    /// nothing to choose from: no logits, or all of them negative infinity (masked).
    pub fn choose(
        &mut self,
        logits: &[f32],
        workspace: &mut Workspace,
    ) -> Result<TokenId, SamplerError> {
        check(logits)?;
        Ok(self.pick(logits, workspace)?.0)
    }

    /// Tells the penalties and DRY that the sequence goes on with `token`: tokens of the prompt and
    /// chosen ones alike.
    pub fn accept(&mut self, token: TokenId) {
        self.history.push(token);
    }
}

impl Sampler {
    /// The whole chain on checked logits: a token and its probability after it.
    fn pick(
        &mut self,
        logits: &[f32],
        workspace: &mut Workspace,
    ) -> Result<(TokenId, f32), SamplerError> {
        let adjusts = self.adjusts();
        if adjusts {
            self.adjust(logits, workspace)?;
        }
        let Workspace { logits: row, candidates, .. } = workspace;
        let row = if adjusts { row } else { logits };
        let (token, probability) = if self.config.temperature == 0.0 {
            (argmax(row), 1.0)
        } else {
            self.filter(row, candidates);
            self.draw(candidates)
        };
        let token = token.ok_or(SamplerError::NoCandidate { vocab: logits.len() })?;
        Ok((token, probability))
    }

    /// Whether a stage up to `dry` changes anything.
    fn adjusts(&self) -> bool {
        let SamplerConfig { logit_bias, penalties, dry, .. } = &self.config;
        !logit_bias.is_empty() || penalties::is_on(penalties) || dry::is_on(dry)
    }

    /// The stages up to `dry`, into the workspace's row. They touch few tokens, so they work on the
    /// row itself.
    fn adjust(&mut self, logits: &[f32], workspace: &mut Workspace) -> Result<(), SamplerError> {
        let Self { config, history, dry, .. } = self;
        let Workspace { tally, logits: row, .. } = workspace;
        row.clear();
        row.extend_from_slice(logits);
        tally.resize(logits.len());
        logit_bias::apply(row, &config.logit_bias)?;
        penalties::apply(row, &config.penalties, history, tally);
        dry.apply(row, &config.dry, history, tally);
        Ok(())
    }

    /// The stages from `top_n_sigma` on, on the candidates.
    fn filter(&mut self, logits: &[f32], candidates: &mut Candidates) {
        let Self { config, random, .. } = self;
        if config.top_n_sigma <= 0.0 && config.top_k > 0 {
            // The same as filling and cutting, without a list as long as the vocabulary.
            candidates.fill_top(logits, config.top_k);
        } else {
            candidates.fill(logits);
            top_n_sigma::apply(candidates, config.top_n_sigma);
            top_k::apply(candidates, config.top_k);
        }
        typical::apply(candidates, config.typical_p);
        top_p::apply(candidates, config.top_p);
        min_p::apply(candidates, config.min_p);
        xtc::apply(candidates, &config.xtc, random);
        temperature::apply(candidates, config.temperature, &config.dynamic_temperature);
    }

    /// One draw by inverting the cumulative distribution in the order of the candidates.
    fn draw(&mut self, candidates: &mut Candidates) -> (Option<TokenId>, f32) {
        let unit = self.random.next_unit();
        let (weights, total) = candidates.weights();
        let (mut mass, wanted) = (0.0, unit * total);
        let drawn = weights.iter().position(|weight| {
            mass += weight;
            mass > wanted
        });
        // The sum rounds the same way as the total, so a draw is always found; the fallback is for
        // an empty list.
        let index = drawn.unwrap_or_default();
        let probability = weights.get(index).map_or(0.0, |weight| weight / total);
        let token = candidates.list.get(index).map(|candidate| candidate.token);
        (token, probability as f32)
    }
}

/// The `count` most probable tokens of the model's own distribution and their probabilities, most
/// probable first, the lower id among equals. A masked token (negative infinity) and one whose
/// logit is NaN have no probability and are left out; positive infinity counts as the largest
/// finite number.
pub fn softmax_top(logits: &[f32], count: usize) -> Vec<(TokenId, f64)> {
    let tame = |logit: &f32| if logit.is_nan() { f32::NEG_INFINITY } else { logit.min(f32::MAX) };
    let row: Vec<f32> = logits.iter().map(tame).collect();
    // What is refused is a row without any candidate.
    let top = log_softmax(&row, 0, count, &mut Workspace::default()).map(|(_, top)| top);
    let top = top.unwrap_or_default().into_iter();
    top.map(|(token, log_probability)| (token, math::exp(log_probability))).collect()
}

/// The natural logarithm of `token`'s probability in the model's own distribution, and those of the
/// `count` most probable tokens, most probable first, the lower id among equals. A masked token's
/// (negative infinity) is negative infinity; it is never among the most probable.
///
/// # Errors
/// A logit that is NaN or positive infinity; no logits, or all of them masked.
pub fn log_softmax(
    logits: &[f32],
    token: TokenId,
    count: usize,
    workspace: &mut Workspace,
) -> Result<(f64, Vec<(TokenId, f64)>), SamplerError> {
    let total = math::log_sum_exp(logits, check(logits)?);
    let own = logits.get(token as usize).map_or(f64::NEG_INFINITY, |&logit| f64::from(logit));
    let Workspace { candidates, .. } = workspace;
    candidates.list.clear();
    if count > 0 {
        candidates.fill_top(logits, count);
        candidates.list.sort_unstable_by(candidates::rank);
    }
    let top = candidates.list.iter().map(|c| (c.token, f64::from(c.logit) - total));
    Ok((own - total, top.collect()))
}

/// The largest logit, if there is one and no logit is NaN or positive infinity.
fn check(logits: &[f32]) -> Result<f32, SamplerError> {
    let mut max = f32::NEG_INFINITY;
    let mut fine = true;
    for &logit in logits {
        fine &= logit <= f32::MAX; // false for NaN
        max = if logit > max { logit } else { max };
    }
    if !fine {
        let bad = logits.iter().position(|logit| logit.is_nan() || *logit > f32::MAX);
        let index = bad.unwrap_or_default();
        return Err(SamplerError::BadLogit { token: index as TokenId, found: logits[index] });
    }
    if max == f32::NEG_INFINITY {
        return Err(SamplerError::NoCandidate { vocab: logits.len() });
    }
    Ok(max)
}

/// The lowest id with the largest logit; `None` if all are masked.
fn argmax(logits: &[f32]) -> Option<TokenId> {
    // Two plain loops: looking for a value and its place at once goes one by one.
    let max = logits.iter().fold(f32::NEG_INFINITY, |max, &it| if it > max { it } else { max });
    let place = logits.iter().position(|&logit| logit == max)?;
    (max > f32::NEG_INFINITY).then_some(place as TokenId)
}

/// Writes a changed logit: a masked token stays masked, everything else stays finite.
fn store(logit: &mut f32, value: f64) {
    if *logit > f32::NEG_INFINITY {
        *logit = value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32;
    }
}
