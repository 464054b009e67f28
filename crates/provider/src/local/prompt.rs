//! What a turn asks to continue, as tokens.

use std::ops::Range;

use lucid_tensor::{Metadata, WeightSource as _};
use lucid_tokenizer::template::{
    ChatTemplate, LocalTime, Message, RenderOptions, Rendered, TemplateError,
};
use lucid_tokenizer::{AddSpecial, ParseSpecial, TokenId, Tokenizer};
use serde_json::{Map, Value, json};

use super::template;
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
    /// Whether the answer is a message of a conversation, in the template's format.
    pub(super) is_message: bool,
    /// Whether the prompt has opened a reasoning.
    pub(super) in_reasoning: bool,
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
            Prompt::Tokens(tokens) => Written {
                tokens: tokens.clone(),
                begins: Begins::Within,
                ends_at_begin: true,
                ..Written::default()
            },
        };
        if written.tokens.is_empty() {
            let reason =
                "it is empty, and this model has no token to begin with: give it some text";
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
            tokens: template::encode(self.tokenizer, &rendered),
            begins: if continues { Begins::Within } else { Begins::Anew },
            ends_at_begin: false,
            is_message: true,
            in_reasoning: !continues && opens_reasoning(&rendered.text, &rendered.literal),
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

/// A conversation up to where its last message breaks off. As in transformers
/// (`continue_final_message`), what the template puts after the message is cut off; where it does
/// not show the message as it is, the message follows the opening of an answer.
fn continued(
    template: &ChatTemplate,
    before: &[Message],
    last: &Message,
    begun: &str,
    options: &RenderOptions,
) -> Result<Rendered, TemplateError> {
    if !begun.trim().is_empty() {
        let whole: Vec<Message> = before.iter().chain([last]).cloned().collect();
        let options = RenderOptions { add_generation_prompt: false, ..options.clone() };
        let mut rendered = template.render(&whole, &options)?;
        let shown = [begun, begun.trim()];
        let end = shown.iter().find_map(|it| Some(rendered.text.rfind(*it)? + it.len()));
        if let Some(end) = end {
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

/// Whether the prompt ends with a `<think>` of the template's own, as those of DeepSeek-R1, QwQ and
/// Qwen3-Thinking do. One that a person wrote (`literal`) opens nothing.
fn opens_reasoning(prompt: &str, literal: &[Range<usize>]) -> bool {
    let prompt = prompt.trim_end();
    let written =
        literal.iter().any(|range| range.start < prompt.len() && range.end >= prompt.len());
    prompt.ends_with("<think>") && !written
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_opens_reasoning() {
        assert!(opens_reasoning("<|assistant|><think>\n", &[]));
        assert!(!opens_reasoning("<|assistant|>", &[]));
        assert!(!opens_reasoning("<think>\n\n</think>\n\n", &[]));
        // The last message as it was typed.
        assert!(!opens_reasoning("user: <think>\n", std::slice::from_ref(&(6..13))));
    }
}
