//! What is asked of a provider: one turn of a conversation, or the continuation of a text.

use serde_json::{Map, Value};

use lucid_engine::ClientId;
use lucid_tokenizer::TokenId;
use lucid_tokenizer::template::Message;

use crate::Hold;

/// One turn: what was said, and how to answer.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// What to continue.
    pub prompt: Prompt,
    /// How tokens are chosen; what is not set is the provider's default.
    pub sampling: Sampling,
    /// Where the answer ends at the latest; none means as far as the context goes.
    pub new_tokens_max: Option<usize>,
    /// Texts that end the answer. They are not part of it.
    pub stops: Vec<String>,
    /// Tokens that end the answer, beside the model's own. They are not part of it.
    pub stop_tokens: Vec<TokenId>,
    /// Whether the model's own end-of-text tokens are disregarded.
    pub ignore_end: bool,
    /// What the answer must conform to.
    pub format: OutputFormat,
    /// What the model may call.
    pub tools: Tools,
    /// How much the model is to think before it answers.
    pub effort: Effort,
    /// Which log-probabilities are wanted.
    pub log_probs: Option<LogProbs>,
    /// How many answers; 1 to `SAMPLES_MAX`. 0 counts as 1.
    pub samples: usize,
    /// On whose behalf: clients are served fairly and see nothing of each other.
    pub client: ClientId,
    /// What else, beside the client, prompts must agree in to share keys and values (labels).
    pub scope: Vec<u8>,
    /// The adapter to answer with, by the name under which it was loaded.
    pub adapter: Option<String>,
    /// A hand on the turn, to set it aside with.
    pub hold: Option<Hold>,
}

/// What is to be continued.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// A conversation. The provider's template writes it.
    Chat {
        /// What was said, in order.
        messages: Vec<Message>,
        /// Further variables of the template, such as `enable_thinking`.
        variables: Map<String, Value>,
        /// Whether the last message, which is the assistant's, is to be continued instead of
        /// answered.
        continues: bool,
    },
    /// A text as it stands.
    Text(Text),
    /// A text and what follows the gap: the middle is wanted.
    Infill {
        /// Before the gap.
        prefix: String,
        /// After it.
        suffix: String,
    },
    /// Tokens as they are. Nothing is added.
    Tokens(Vec<TokenId>),
}

/// A text as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// The text.
    pub text: String,
    /// Whether spellings of control tokens in it mean them. Nothing that stems from an untrusted
    /// hand may be sent so.
    pub control: bool,
}

impl Default for Prompt {
    fn default() -> Self {
        Self::Text(Text::default())
    }
}

impl Prompt {
    /// A conversation of these messages.
    pub fn chat(messages: Vec<Message>) -> Self {
        Self::Chat { messages, variables: Map::new(), continues: false }
    }

    /// A text without control tokens.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(Text { text: text.into(), control: false })
    }
}

/// How tokens are chosen. What is none is the provider's default (`Card::sampling`); `Some` always
/// means what it says, so a remote provider refuses what its API cannot express.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 is greedy.
    pub temperature: Option<f32>,
    /// Keeps this many of the most probable tokens; 0 is off.
    pub top_k: Option<usize>,
    /// Nucleus sampling: the mass to keep, 1 is off.
    pub top_p: Option<f32>,
    /// Keeps tokens at least this fraction as probable as the most probable one; 0 is off.
    pub min_p: Option<f32>,
    /// Locally typical sampling: the mass to keep, 1 is off.
    pub typical_p: Option<f32>,
    /// Keeps logits within this many standard deviations of the largest; 0 is off.
    pub top_n_sigma: Option<f32>,
    /// Positive logits of seen tokens are divided by this, the others multiplied; 1 is off.
    pub repeat_penalty: Option<f32>,
    /// Subtracted once per occurrence; 0 is off.
    pub frequency_penalty: Option<f32>,
    /// Subtracted once if the token occurs; 0 is off.
    pub presence_penalty: Option<f32>,
    /// How many of the last tokens the penalties look at; `usize::MAX` is all.
    pub penalty_last_n: Option<usize>,
    /// DRY: the penalty at the allowed length; 0 is off.
    pub dry_multiplier: Option<f32>,
    /// DRY: its growth for each further repeated token.
    pub dry_base: Option<f32>,
    /// DRY: repeats shorter than this are free.
    pub dry_allowed_length: Option<usize>,
    /// DRY: how many of the last tokens are searched; `usize::MAX` is all.
    pub dry_last_n: Option<usize>,
    /// DRY: texts across which no repeat is counted.
    pub dry_breakers: Option<Vec<String>>,
    /// Exclude top choices: how often; 0 is off.
    pub xtc_probability: Option<f32>,
    /// Exclude top choices: from which probability on.
    pub xtc_threshold: Option<f32>,
    /// The temperature follows the entropy within this distance; 0 is off.
    pub dynamic_temperature_range: Option<f32>,
    /// Added to the logits of these tokens; negative infinity bans one.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// The same seed gives the same answer; none draws one.
    pub seed: Option<u64>,
}

/// What an answer must conform to. It is kept to or the answer fails; it is never let go of.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum OutputFormat {
    /// Anything.
    #[default]
    Free,
    /// Some JSON object.
    JsonObject,
    /// JSON that this schema (draft 2020-12) accepts.
    JsonSchema(Value),
    /// Text that matches the whole of a regular expression.
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// A Lark grammar, as llguidance reads it.
    Lark(String),
    /// A grammar in llama.cpp's notation (GBNF).
    Gbnf(String),
}

/// What the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tools {
    /// The tools.
    pub list: Vec<Tool>,
    /// Whether it must.
    pub choice: ToolChoice,
    /// Whether it may call several at once.
    pub parallel: bool,
}

impl Default for Tools {
    fn default() -> Self {
        Self { list: Vec::new(), choice: ToolChoice::Auto, parallel: true }
    }
}

/// A tool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tool {
    /// By which name it is called.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The JSON schema of its arguments; null means none.
    pub parameters: Value,
}

/// Whether the model must call a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// As it sees fit.
    #[default]
    Auto,
    /// It must not.
    None,
    /// It must call one or more.
    Required,
    /// It must call this one.
    Named(String),
}

/// How much a model is to think before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// As its template has it.
    #[default]
    Default,
    /// Not at all, where the template can say so.
    Off,
    /// It thinks; at most so many tokens, where that is given.
    On {
        /// The most tokens of reasoning. When they are spent, the reasoning is closed for the
        /// model.
        tokens_max: Option<usize>,
    },
}

/// Which log-probabilities are wanted: natural logarithms in the model's own distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogProbs {
    /// How many of the most probable tokens beside each; at most `ALTERNATIVES_MAX`.
    pub alternatives: usize,
    /// Whether for the prompt as well.
    pub prompt: bool,
}
