//! The bounds of every number, list and text that a request may hold, in one place. A value outside
//! is refused with the field's name; nothing is clamped in silence.

use lucid_provider::{ALTERNATIVES_MAX, SAMPLES_MAX};

/// Bytes of a request's body.
pub(crate) const BODY_BYTES_MAX: usize = 16 << 20;
/// Bytes of all bodies that are being read or have not become prompts yet.
pub(crate) const BODIES_BYTES_MAX: usize = 512 << 20;
/// How deep JSON may be nested.
pub(crate) const JSON_DEPTH_MAX: usize = 64;
/// Values (numbers, texts, lists, objects) in one body: a parsed value takes some 80 bytes.
pub(crate) const JSON_VALUES_MAX: usize = 1 << 20;
/// Bytes of a path with its query.
pub(crate) const TARGET_BYTES_MAX: usize = 8 << 10;

/// Characters of a model's name.
pub(crate) const MODEL_BYTES_MAX: usize = 512;
/// Messages of a conversation.
pub(crate) const MESSAGES_MAX: usize = 16_384;
/// Parts of one message's content.
pub(crate) const PARTS_MAX: usize = 4096;
/// Bytes of a role, a speaker's name or an identifier.
pub(crate) const NAME_BYTES_MAX: usize = 256;
/// Tools of one request.
pub(crate) const TOOLS_MAX: usize = 256;
/// Calls of tools in one message.
pub(crate) const TOOL_CALLS_MAX: usize = 256;
/// Bytes of a JSON schema, a grammar or a regular expression.
pub(crate) const SCHEMA_BYTES_MAX: usize = 1 << 20;
/// Choices of a list to choose from.
pub(crate) const CHOICES_MAX: usize = 65_536;
/// Stop texts.
pub(crate) const STOPS_MAX: usize = 64;
/// Bytes of one stop text.
pub(crate) const STOP_BYTES_MAX: usize = 4096;
/// Tokens with a bias of their own.
pub(crate) const LOGIT_BIAS_MAX: usize = 4096;
/// Prompts, texts or documents of one request.
pub(crate) const PROMPTS_MAX: usize = 2048;
/// Variables of a template.
pub(crate) const VARIABLES_MAX: usize = 64;
/// Pairs of metadata that are kept with a response.
pub(crate) const METADATA_MAX: usize = 16;

/// A range of fractions, both ends included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    /// The least.
    pub(crate) min: f32,
    /// The greatest.
    pub(crate) max: f32,
}

/// A range of whole numbers, both ends included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole {
    /// The least.
    pub(crate) min: u64,
    /// The greatest.
    pub(crate) max: u64,
}

const fn range(min: f32, max: f32) -> Range {
    Range { min, max }
}

const fn whole(min: u64, max: u64) -> Whole {
    Whole { min, max }
}

/// OpenAI's bound is 2; other servers take more, and greater values do no harm.
pub(crate) const TEMPERATURE: Range = range(0.0, 100.0);
/// A share of the probability.
pub(crate) const PROBABILITY: Range = range(0.0, 1.0);
/// Presence and frequency penalties.
pub(crate) const PENALTY: Range = range(-2.0, 2.0);
/// The factor of the repetition penalty.
pub(crate) const REPEAT_PENALTY: Range = range(0.01, 100.0);
/// What is added to a logit.
pub(crate) const BIAS: Range = range(-100.0, 100.0);
/// Other settings of samplers.
pub(crate) const SETTING: Range = range(0.0, 1000.0);
/// The share of an adapter.
pub(crate) const SCALE: Range = range(-100.0, 100.0);

/// Answers to one prompt.
pub(crate) const SAMPLES: Whole = whole(1, SAMPLES_MAX as u64);
/// Tokens of an answer.
pub(crate) const NEW_TOKENS: Whole = whole(1, 1 << 24);
/// The same where 0 means that only the prompt is computed.
pub(crate) const NEW_TOKENS_OR_NONE: Whole = whole(0, 1 << 24);
/// A token of a vocabulary.
pub(crate) const TOKEN: Whole = whole(0, u32::MAX as u64);
/// How many candidates are kept.
pub(crate) const TOP_K: Whole = whole(0, 1 << 24);
/// How many last tokens are looked at.
pub(crate) const LAST_N: Whole = whole(0, 1 << 24);
/// Alternatives of a token.
pub(crate) const ALTERNATIVES: Whole = whole(0, ALTERNATIVES_MAX as u64);
/// Any seed.
pub(crate) const SEED: Whole = whole(0, u64::MAX);
/// Elements of an embedding.
pub(crate) const DIMENSIONS: Whole = whole(1, 1 << 20);

/// Answers of one request, to all its prompts.
pub(crate) const SAMPLES_ALL_MAX: usize = 4 * SAMPLES_MAX;
