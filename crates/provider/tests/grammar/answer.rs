//! An answer of a model whose logits are random.

use std::sync::Arc;

use lucid_engine::sampler::{Sampler, SamplerConfig, Workspace};
use lucid_engine::{Constraint, TokenMask};
use lucid_provider::dialogue::{Begins, Format};
use lucid_provider::grammar::{Demand, Grammars};
use lucid_provider::{OutputFormat, ProviderError, Tools};
use lucid_tokenizer::{ShowSpecial, TokenId, Tokenizer};

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It conforms, and the model ended it or nothing may follow.
    Whole,
    /// There were too many tokens.
    Length,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) text: String,
    pub(crate) ended: Ended,
    /// Of the tokens, those that were forced.
    pub(crate) forced: usize,
}

/// The constraint of a format without tools.
pub(crate) fn constraint(
    grammars: &Grammars,
    format: &OutputFormat,
) -> Result<Box<dyn Constraint>, ProviderError> {
    let (tools, dialogue) = (Tools::default(), Format::default());
    let begins = Begins::Outside;
    let demand = Demand { format, tools: &tools, dialogue: &dialogue, begins };
    Ok(grammars.constraint(&demand)?.expect("a format constrains"))
}

/// A model: random logits, a little in favour of what closes texts and brackets, the more the
/// longer the answer is. Otherwise most answers would never end.
pub(crate) struct Model {
    tokenizer: Arc<Tokenizer>,
    closes: Vec<bool>,
}

impl Model {
    pub(crate) fn new(tokenizer: &Arc<Tokenizer>) -> Self {
        let closes = (0..tokenizer.len() as TokenId).map(|token| {
            let piece = tokenizer.piece(token).unwrap_or_default();
            let ends = |byte: &u8| b"\"]}>),".contains(byte);
            !tokenizer.is_control(token) && piece.len() <= 2 && piece.iter().any(ends)
        });
        Self { closes: closes.collect(), tokenizer: Arc::clone(tokenizer) }
    }

    fn logits(&self, seed: u64, step: usize, out: &mut Vec<f32>) {
        let favour = 1.0 + step as f32 * 0.03;
        out.clear();
        out.extend(self.closes.iter().enumerate().map(|(token, &closes)| {
            let mut bits = seed ^ (step as u64) << 32 ^ token as u64;
            bits = (bits ^ bits >> 33).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
            bits = (bits ^ bits >> 33).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
            let noise = (bits >> 40) as f32 / 8_388_608.0;
            2.0 * noise + if closes { favour } else { 0.0 }
        }));
    }

    /// Answers as the engine does: forced tokens, then one of those that the mask allows.
    pub(crate) fn answer(
        &self,
        constraint: &mut dyn Constraint,
        seed: u64,
        tokens_max: usize,
    ) -> Result<Answer, lucid_engine::EngineError> {
        let size = self.tokenizer.len();
        let end = self.tokenizer.eos().unwrap();
        let mut sampler = Sampler::new(SamplerConfig {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed,
            ..SamplerConfig::default()
        })
        .unwrap();
        let (mut tokens, mut forced_count) = (Vec::new(), 0);
        let (mut logits, mut workspace) = (Vec::new(), Workspace::default());
        let mut ended = Ended::Length;
        while tokens.len() < tokens_max {
            let forced = constraint.forced()?;
            forced_count += forced.len();
            for &token in &forced {
                constraint.accept(token)?;
                tokens.push(token);
            }
            if !forced.is_empty() {
                continue;
            }
            let may_end = constraint.may_end();
            let mut mask = TokenMask::new(size);
            constraint.mask(&mut mask)?;
            self.logits(seed, tokens.len(), &mut logits);
            let allowed = |token: usize| {
                if token == end as usize { may_end } else { mask.allows(token as TokenId) }
            };
            let mut left = 0;
            for (token, logit) in logits.iter_mut().enumerate() {
                if allowed(token) {
                    left += 1;
                } else {
                    *logit = f32::NEG_INFINITY;
                }
            }
            let only_end = left == usize::from(may_end);
            assert!(left > 0, "nothing is allowed, and the answer may not end");
            let token = sampler.choose(&logits, &mut workspace).unwrap();
            if only_end || token == end {
                ended = Ended::Whole;
                break;
            }
            constraint.accept(token)?;
            tokens.push(token);
        }
        let mut decoder = self.tokenizer.stream_decoder_continuing(ShowSpecial::Yes);
        let mut text: String = tokens.iter().map(|&token| decoder.push(token).to_owned()).collect();
        text.push_str(decoder.finish());
        Ok(Answer { tokens, text, ended, forced: forced_count })
    }
}
