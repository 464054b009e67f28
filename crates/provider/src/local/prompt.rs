//! What a turn asks to continue, as tokens.

use lucid_tensor::{Metadata, WeightSource as _};
use lucid_tokenizer::template::{
    ChatTemplate, LocalTime, Message, RenderOptions, Rendered, TemplateError,
};
use lucid_tokenizer::{AddSpecial, ParseSpecial, TokenId, Tokenizer};
use serde_json::{Map, Value, json};

use crate::dialogue::{self, Format};
use crate::{Effort, Prompt, ProviderError, Text, Tool, ToolChoice, Turn};

/// A prompt as the engine sees it, and where the answer stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// The prompt.
    pub(super) tokens: Vec<TokenId>,
    /// Where the answer begins.
    pub(super) begins: Begins,
    /// Whether a begin-of-text token ends the answer: the model goes on to the next document.
    pub(super) ends_at_begin: bool,
    /// Where a message of a conversation begins, as far as reasoning goes; none where the answer is
    /// no message.
    pub(super) message: Option<dialogue::Begins>,
}

/// Where an answer begins, as far as its first space goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Begins {
    /// At the start of a text.
    #[default]
    Anew,
    /// After text: what continues it keeps its leading space.
    Within,
}

/// What writes prompts.
pub(super) struct Writer<'a> {
    pub(super) provider: &'a str,
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) template: Option<&'a ChatTemplate>,
    pub(super) infill: Option<&'a Infill>,
    pub(super) format: Format,
    pub(super) now: LocalTime,
}

impl Writer<'_> {
    /// Writes the prompt of a turn.
    ///
    /// # Errors
    /// The template refuses the conversation, or the model has no template or no tokens for it.
    pub(super) fn write(&self, turn: &Turn) -> Result<Written, ProviderError> {
        let written = match &turn.prompt {
            Prompt::Chat { messages, variables, continues } => {
                self.conversation(turn, messages, variables, *continues)?
            }
            Prompt::Text(text) => self.text(text),
            Prompt::Infill { prefix, suffix } => self.infill(prefix, suffix)?,
            Prompt::Tokens(tokens) => {
                // Structure alone is no text that could be continued.
                let said = tokens.iter().any(|&token| !self.tokenizer.is_control(token));
                let begins = if said { Begins::Within } else { Begins::Anew };
                let tokens = tokens.clone();
                Written { tokens, begins, ends_at_begin: true, ..Written::default() }
            }
        };
        if written.tokens.is_empty() {
            let reason =
                "the prompt is empty, and this model has no token to begin with: give it some text";
            return Err(ProviderError::invalid("prompt", reason));
        }
        Ok(written)
    }

    fn text(&self, text: &Text) -> Written {
        let control = if text.control { ParseSpecial::Yes } else { ParseSpecial::No };
        let tokens = self.tokenizer.encode(text.text.as_bytes(), &[], AddSpecial::Yes, control);
        let begins = if text.text.is_empty() { Begins::Anew } else { Begins::Within };
        Written { tokens, begins, ends_at_begin: true, ..Written::default() }
    }

    fn infill(&self, prefix: &str, suffix: &str) -> Result<Written, ProviderError> {
        let Some(infill) = self.infill else {
            return Err(ProviderError::Unsupported {
                provider: self.provider.to_owned(),
                what: "its vocabulary has no tokens for filling gaps".to_owned(),
            });
        };
        let plain = |text: &str| {
            self.tokenizer.encode(text.as_bytes(), &[], AddSpecial::No, ParseSpecial::No)
        };
        let mut tokens: Vec<TokenId> = Vec::new();
        tokens.extend(self.tokenizer.bos().filter(|_| self.tokenizer.adds_bos()));
        tokens.push(infill.prefix);
        tokens.extend(plain(prefix));
        tokens.push(infill.suffix);
        tokens.extend(plain(suffix));
        tokens.push(infill.middle);
        Ok(Written { tokens, begins: Begins::Within, ends_at_begin: true, ..Written::default() })
    }

    fn conversation(
        &self,
        turn: &Turn,
        messages: &[Message],
        variables: &Map<String, Value>,
        continues: bool,
    ) -> Result<Written, ProviderError> {
        let Some(template) = self.template else {
            return Err(ProviderError::Unsupported {
                provider: self.provider.to_owned(),
                what: "it has no chat template, so it continues texts but answers no messages"
                    .to_owned(),
            });
        };
        if messages.is_empty() {
            return Err(ProviderError::invalid("prompt.messages", "there is no message"));
        }
        let options = RenderOptions {
            add_generation_prompt: true,
            tools: tools(turn),
            now: self.now,
            extra: with_effort(variables, turn.effort),
            ..RenderOptions::default()
        };
        let refused = |error: TemplateError| ProviderError::Template {
            provider: self.provider.to_owned(),
            reason: match error {
                TemplateError::Refused { message } => message,
                error => error.to_string(),
            },
        };
        let rendered = if continues {
            let (last, before) = messages.split_last().unwrap_or((&messages[0], &[]));
            let begun = begun(last)?;
            continued(template, before, last, begun, &options).map_err(refused)?
        } else {
            template.render(messages, &options).map_err(refused)?
        };
        Ok(Written {
            tokens: rendered.tokens(self.tokenizer),
            begins: if continues { Begins::Within } else { Begins::Anew },
            ends_at_begin: false,
            // What was begun is said already.
            message: Some(if continues {
                dialogue::Begins::AfterReasoning
            } else {
                self.format.begins(&rendered.text, &rendered.literal)
            }),
        })
    }
}

/// What an assistant has begun to say.
fn begun(last: &Message) -> Result<&str, ProviderError> {
    let field = "prompt.continues";
    if last.role != "assistant" {
        let reason = format!(
            "the last message is the {}'s; only one of the assistant's can be continued",
            last.role
        );
        return Err(ProviderError::invalid(field, reason));
    }
    if !last.tool_calls.is_empty() {
        return Err(ProviderError::invalid(field, "a message that calls tools is complete"));
    }
    Ok(last.content.as_deref().unwrap_or_default())
}

/// A conversation up to where its last message breaks off: it is rendered with a mark at the end of
/// the message, and what follows the mark is cut off. (Transformers' `continue_final_message` looks
/// for the message itself, which the template may write once more.) Where the template does not
/// show the mark, the message follows the opening of an answer.
fn continued(
    template: &ChatTemplate,
    before: &[Message],
    last: &Message,
    begun: &str,
    options: &RenderOptions,
) -> Result<Rendered, TemplateError> {
    if !begun.is_empty() {
        // A text that contains its own hash is not to be found.
        let mark = blake3::hash(begun.as_bytes()).to_hex();
        let content = Some(format!("{begun}{mark}"));
        let last = Message { content, ..last.clone() };
        let whole: Vec<Message> = before.iter().chain([&last]).cloned().collect();
        let options = RenderOptions { add_generation_prompt: false, ..options.clone() };
        let mut rendered = template.render(&whole, &options)?;
        if let Some(end) = rendered.text.rfind(mark.as_str()) {
            rendered.text.truncate(end);
            rendered.literal.retain_mut(|range| {
                range.end = range.end.min(end);
                range.start < range.end
            });
            return Ok(rendered);
        }
    }
    let mut rendered = template.render(before, options)?;
    let start = rendered.text.len();
    rendered.text.push_str(begun);
    if !begun.is_empty() {
        rendered.literal.push(start..rendered.text.len());
    }
    Ok(rendered)
}

/// Tools as templates expect them: OpenAI's objects.
fn tools(turn: &Turn) -> Vec<Value> {
    if turn.tools.choice == ToolChoice::None {
        return Vec::new();
    }
    let tool = |tool: &Tool| {
        let mut function = Map::new();
        function.insert("name".to_owned(), json!(tool.name));
        if let Some(description) = &tool.description {
            function.insert("description".to_owned(), json!(description));
        }
        let parameters = match &tool.parameters {
            Value::Null => json!({ "type": "object", "properties": {} }),
            parameters => parameters.clone(),
        };
        function.insert("parameters".to_owned(), parameters);
        json!({ "type": "function", "function": function })
    };
    turn.tools.list.iter().map(tool).collect()
}

/// The template's variables, with the two by which templates turn reasoning on and off (Qwen3 and
/// its like; DeepSeek V3.1, Granite). What the caller sets stands.
fn with_effort(variables: &Map<String, Value>, effort: Effort) -> Map<String, Value> {
    let mut variables = variables.clone();
    let thinks = match effort {
        Effort::Default => return variables,
        Effort::Off => false,
        Effort::On { .. } => true,
    };
    for name in ["enable_thinking", "thinking"] {
        variables.entry(name).or_insert(Value::Bool(thinks));
    }
    variables
}

/// The tokens that models are trained with to fill gaps: before the gap, after it, and where its
/// filling follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Infill {
    prefix: TokenId,
    suffix: TokenId,
    middle: TokenId,
}

/// How vocabularies spell them that do not say so in their metadata: CodeGemma and Qwen, StarCoder,
/// DeepSeek, Code Llama.
const SPELLINGS: [[&str; 3]; 4] = [
    ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"],
    ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"],
    [
        "<\u{ff5c}fim\u{2581}begin\u{ff5c}>",
        "<\u{ff5c}fim\u{2581}hole\u{ff5c}>",
        "<\u{ff5c}fim\u{2581}end\u{ff5c}>",
    ],
    ["\u{2581}<PRE>", "\u{2581}<SUF>", "\u{2581}<MID>"],
];

impl Infill {
    /// Those that the metadata name, or the vocabulary spells.
    pub(super) fn find(
        source: &lucid_checkpoint::Checkpoint,
        tokenizer: &Tokenizer,
    ) -> Option<Self> {
        let metadata = source.metadata();
        let named = |names: [&str; 2]| names.iter().find_map(|name| id(metadata, name, tokenizer));
        let keys = [
            ["fim_pre_token_id", "prefix_token_id"],
            ["fim_suf_token_id", "suffix_token_id"],
            ["fim_mid_token_id", "middle_token_id"],
        ];
        if let [Some(prefix), Some(suffix), Some(middle)] = keys.map(named) {
            return Some(Self { prefix, suffix, middle });
        }
        SPELLINGS.iter().find_map(|spellings| {
            let [prefix, suffix, middle] =
                spellings.map(|spelling| tokenizer.token_id(spelling.as_bytes()));
            Some(Self { prefix: prefix?, suffix: suffix?, middle: middle? })
        })
    }
}

fn id(metadata: &Metadata, name: &str, tokenizer: &Tokenizer) -> Option<TokenId> {
    let id = metadata.unsigned(&format!("tokenizer.ggml.{name}")).ok().flatten()?;
    TokenId::try_from(id).ok().filter(|&id| (id as usize) < tokenizer.len())
}
