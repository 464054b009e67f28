//! The settings of the sampling chain, with llama.cpp's defaults (`common_params_sampling` in its
//! `common/common.h`), and what may be wrong with them or with the logits.

use lucid_tensor::TokenId;

/// What can go wrong in sampling.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SamplerError {
    /// A setting is out of its range.
    #[error("the sampling setting `{setting}` is {found}, expected {expected}")]
    Setting {
        /// The setting's name, as in `SamplerConfig`.
        setting: &'static str,
        /// Its value.
        found: f64,
        /// Its range, in words.
        expected: &'static str,
    },
    /// A DRY sequence breaker without a token.
    #[error("the DRY sequence breaker number {index} is empty, expected at least one token")]
    EmptyBreaker {
        /// Its place in `DryConfig::breakers`.
        index: usize,
    },
    /// A logit is NaN or positive infinity. Negative infinity is allowed: it masks the token.
    #[error("the logit of token {token} is {found}, expected a number or -inf (a masked token)")]
    BadLogit {
        /// The token.
        token: TokenId,
        /// Its logit.
        found: f32,
    },
    /// A bias names a token that the vocabulary does not have.
    #[error("the logit bias names token {token}, but the vocabulary has {vocab} tokens")]
    BiasOutOfRange {
        /// The token.
        token: TokenId,
        /// The length of the logits.
        vocab: usize,
    },
    /// There is nothing to choose from: no logits, or all of them masked.
    #[error("no token can be chosen: all {vocab} logits are masked")]
    NoCandidate {
        /// The length of the logits.
        vocab: usize,
    },
}

/// Settings of the whole chain. Each stage's file documents its method.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerConfig {
    /// Added to the logits of these tokens before anything else; negative infinity bans a token.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Repetition, frequency and presence penalties. Off by default.
    pub penalties: PenaltyConfig,
    /// "Don't repeat yourself": penalises what would extend a repeated sequence. Off by default.
    pub dry: DryConfig,
    /// Keeps logits within this many standard deviations of the largest; 0 is off.
    pub top_n_sigma: f32,
    /// Keeps this many of the most probable tokens; 0 is off.
    pub top_k: usize,
    /// Locally typical sampling: the mass to keep, 1 is off.
    pub typical_p: f32,
    /// Nucleus sampling: the mass to keep, 1 is off.
    pub top_p: f32,
    /// Keeps tokens at least this fraction as probable as the most probable one; 0 is off.
    pub min_p: f32,
    /// Exclude top choices. Off by default.
    pub xtc: XtcConfig,
    /// Divides the logits. 0 is greedy: after bias, penalties and DRY the largest logit wins (ties:
    /// the lowest id), and no other stage and no randomness takes part.
    pub temperature: f32,
    /// Temperature that follows the entropy. Off by default.
    pub dynamic_temperature: DynamicTemperature,
    /// The same seed and the same logits give the same tokens.
    pub seed: u64,
}

/// Repetition, frequency and presence penalties over the last tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct PenaltyConfig {
    /// Positive logits of seen tokens are divided by this, the others multiplied; 1 is off.
    pub repeat: f32,
    /// Subtracted once per occurrence; 0 is off.
    pub frequency: f32,
    /// Subtracted once if the token occurs; 0 is off.
    pub presence: f32,
    /// How many of the last accepted tokens count; `None` is all, 0 is off.
    pub last_n: Option<usize>,
}

/// DRY repetition penalty.
#[derive(Clone, Debug, PartialEq)]
pub struct DryConfig {
    /// The penalty at `allowed_length`; 0 is off.
    pub multiplier: f32,
    /// The penalty grows by this factor for each further repeated token; at least 1.
    pub base: f32,
    /// Repeats shorter than this are free.
    pub allowed_length: usize,
    /// How many of the last accepted tokens are searched; `None` is all, 0 is off.
    pub last_n: Option<usize>,
    /// Token sequences across which no repeat is counted (say, a newline). The caller turns texts
    /// into tokens.
    pub breakers: Vec<Vec<TokenId>>,
}

/// Exclude top choices.
#[derive(Clone, Debug, PartialEq)]
pub struct XtcConfig {
    /// How often the stage acts at all; 0 is off.
    pub probability: f32,
    /// Of the tokens at least this probable, all but the least probable are removed; above 0.5 is
    /// off.
    pub threshold: f32,
}

/// Temperature that follows the entropy of the distribution.
#[derive(Clone, Debug, PartialEq)]
pub struct DynamicTemperature {
    /// The temperature lies within this distance of the configured one; 0 is off.
    pub range: f32,
    /// Shapes the way from low to high entropy.
    pub exponent: f32,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self {
            logit_bias: Vec::new(),
            penalties: PenaltyConfig {
                repeat: 1.0,
                frequency: 0.0,
                presence: 0.0,
                last_n: Some(64),
            },
            dry: DryConfig {
                multiplier: 0.0,
                base: 1.75,
                allowed_length: 2,
                last_n: None,
                breakers: Vec::new(),
            },
            top_n_sigma: 0.0,
            top_k: 40,
            typical_p: 1.0,
            top_p: 0.95,
            min_p: 0.05,
            xtc: XtcConfig { probability: 0.0, threshold: 0.1 },
            temperature: 0.8,
            dynamic_temperature: DynamicTemperature { range: 0.0, exponent: 1.0 },
            seed: 0,
        }
    }
}

impl SamplerConfig {
    /// The largest logit always, nothing else.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::unfiltered() }
    }

    /// The model's own distribution: temperature 1 and every stage off.
    pub fn unfiltered() -> Self {
        Self { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, ..Self::default() }
    }

    /// Checks every setting against its range.
    ///
    /// # Errors
    /// The first setting that is out of range, with its value.
    pub fn validate(&self) -> Result<(), SamplerError> {
        let unit = "a number from 0 to 1";
        let positive_or_off = "a number that is at least 0";
        range("temperature", self.temperature, 0.0, f32::MAX, positive_or_off)?;
        range(
            "dynamic_temperature.range",
            self.dynamic_temperature.range,
            0.0,
            f32::MAX,
            positive_or_off,
        )?;
        range(
            "dynamic_temperature.exponent",
            self.dynamic_temperature.exponent,
            0.0,
            f32::MAX,
            positive_or_off,
        )?;
        range("top_n_sigma", self.top_n_sigma, 0.0, f32::MAX, positive_or_off)?;
        range("typical_p", self.typical_p, 0.0, 1.0, unit)?;
        range("top_p", self.top_p, 0.0, 1.0, unit)?;
        range("min_p", self.min_p, 0.0, 1.0, unit)?;
        range("xtc.probability", self.xtc.probability, 0.0, 1.0, unit)?;
        range("xtc.threshold", self.xtc.threshold, 0.0, 1.0, unit)?;
        let penalties = &self.penalties;
        range(
            "penalties.repeat",
            penalties.repeat,
            f32::MIN_POSITIVE,
            f32::MAX,
            "a number above 0",
        )?;
        range("penalties.frequency", penalties.frequency, f32::MIN, f32::MAX, "a finite number")?;
        range("penalties.presence", penalties.presence, f32::MIN, f32::MAX, "a finite number")?;
        range("dry.multiplier", self.dry.multiplier, 0.0, f32::MAX, positive_or_off)?;
        range("dry.base", self.dry.base, 1.0, f32::MAX, "a number that is at least 1")?;
        if let Some(index) = self.dry.breakers.iter().position(Vec::is_empty) {
            return Err(SamplerError::EmptyBreaker { index });
        }
        for &(_, bias) in &self.logit_bias {
            range("logit_bias", bias, f32::NEG_INFINITY, f32::MAX, "a number or -inf")?;
        }
        Ok(())
    }
}

/// NaN is in no range.
fn range(
    setting: &'static str,
    found: f32,
    min: f32,
    max: f32,
    expected: &'static str,
) -> Result<(), SamplerError> {
    if (min..=max).contains(&found) {
        return Ok(());
    }
    Err(SamplerError::Setting { setting, found: f64::from(found), expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut SamplerConfig), message: &str) {
        let mut config = SamplerConfig::default();
        assert_eq!(config.validate(), Ok(()));
        change(&mut config);
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains(message), "{error} does not say {message}");
    }

    #[test]
    fn settings_out_of_range_are_named() {
        check(|c| c.temperature = -0.1, "`temperature` is -0.1");
        check(|c| c.temperature = f32::NAN, "`temperature` is NaN");
        check(
            |c| c.dynamic_temperature.range = f32::INFINITY,
            "`dynamic_temperature.range` is inf",
        );
        check(|c| c.dynamic_temperature.exponent = -1.0, "`dynamic_temperature.exponent`");
        check(|c| c.top_n_sigma = -1.0, "`top_n_sigma` is -1");
        check(|c| c.typical_p = 1.5, "`typical_p` is 1.5, expected a number from 0 to 1");
        check(|c| c.top_p = -1.0, "`top_p`");
        check(|c| c.min_p = 2.0, "`min_p`");
        check(|c| c.xtc.probability = 2.0, "`xtc.probability`");
        check(|c| c.xtc.threshold = f32::NAN, "`xtc.threshold`");
        check(|c| c.penalties.repeat = 0.0, "`penalties.repeat` is 0, expected a number above 0");
        check(|c| c.penalties.frequency = f32::NAN, "`penalties.frequency`");
        check(|c| c.penalties.presence = f32::INFINITY, "`penalties.presence`");
        check(|c| c.dry.multiplier = -2.0, "`dry.multiplier`");
        check(|c| c.dry.base = 0.5, "`dry.base`");
        check(|c| c.dry.breakers = vec![vec![1], vec![]], "breaker number 1 is empty");
        check(|c| c.logit_bias = vec![(3, f32::INFINITY)], "`logit_bias` is inf");
    }

    #[test]
    fn presets_are_valid() {
        assert_eq!(SamplerConfig::greedy().validate(), Ok(()));
        assert_eq!(SamplerConfig::unfiltered().validate(), Ok(()));
    }
}
