//! Logit bias: a number added to the logits of chosen tokens, before everything else. As in the
//! `logit_bias` of OpenAI's completion interface and in llama.cpp, but negative infinity is allowed
//! and bans the token.

use lucid_tensor::TokenId;

use super::SamplerError;

pub(super) fn apply(logits: &mut [f32], bias: &[(TokenId, f32)]) -> Result<(), SamplerError> {
    let vocab = logits.len();
    for &(token, value) in bias {
        let logit =
            logits.get_mut(token as usize).ok_or(SamplerError::BiasOutOfRange { token, vocab })?;
        if value == f32::NEG_INFINITY {
            *logit = value;
        } else {
            super::store(logit, f64::from(*logit) + f64::from(value));
        }
    }
    Ok(())
}
