//! What the page asks of a model: the settings of a conversation and the branch that is shown, as
//! a turn.

use lucid_provider::{
    ALTERNATIVES_MAX, Card, Effort, LogProbs, Message as Said, OutputFormat, Prompt, Sampling, Turn,
};
use serde_json::{Map, Value};

use crate::json::{Fields, Node};
use crate::limits;
use crate::refusal::{Kind, Refusal};
use crate::store::{Message, Role};

/// Alternatives that the token view shows beside each token.
const ALTERNATIVES: usize = 8;
/// Bytes of the system text.
const SYSTEM_BYTES_MAX: usize = 128 << 10;

/// The settings of a conversation.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    system: String,
    sampling: Sampling,
    new_tokens_max: Option<usize>,
    schema: Option<Value>,
    effort: Effort,
}

impl Settings {
    /// Reads settings as the page writes them.
    ///
    /// # Errors
    /// A field is not what it must be, or is not known.
    pub(super) fn read(map: &Map<String, Value>) -> Result<Self, Refusal> {
        let node = Node { value: Value::Object(map.clone()), path: "settings".to_owned() };
        let mut fields = node.fields()?;
        let system = fields.take("system").map(|node| node.short_text(SYSTEM_BYTES_MAX));
        let settings = Self {
            system: system.transpose()?.unwrap_or_default(),
            sampling: Sampling {
                temperature: fields.number("temperature", limits::TEMPERATURE)?,
                top_p: fields.number("top_p", limits::PROBABILITY)?,
                top_k: fields.count("top_k", limits::TOP_K)?,
                min_p: fields.number("min_p", limits::PROBABILITY)?,
                seed: fields.whole("seed", limits::SEED)?,
                ..Sampling::default()
            },
            new_tokens_max: fields.count("max_tokens", limits::NEW_TOKENS)?,
            schema: fields.fields("schema")?.map(|schema| Value::Object(schema.into_map())),
            effort: effort(&mut fields)?,
        };
        if let Some(name) = fields.left().next() {
            let name: String = name.chars().take(40).collect();
            return Err(Refusal::invalid("settings", format!("no setting is called `{name}`")));
        }
        Ok(settings)
    }

    /// The turn that goes on from a branch. What the answer begins with is given where a person
    /// chose it.
    ///
    /// # Errors
    /// The model cannot do what is asked.
    pub(super) fn turn(
        self,
        card: &Card,
        branch: &[Message],
        begun: Option<Begun>,
    ) -> Result<Turn, Refusal> {
        let prompt = if card.capabilities.chat {
            self.chat(branch, begun)
        } else if card.capabilities.text {
            continuation(branch, begun)
        } else {
            let message = format!("{} neither chats nor continues texts", card.name);
            return Err(Refusal::new(Kind::Unsupported, message));
        };
        let told = LogProbs { alternatives: ALTERNATIVES.min(ALTERNATIVES_MAX), prompt: false };
        Ok(Turn {
            prompt,
            sampling: self.sampling,
            new_tokens_max: self.new_tokens_max,
            format: self.schema.map_or(OutputFormat::Free, OutputFormat::JsonSchema),
            log_probs: card.capabilities.log_probs.then_some(told),
            effort: self.effort,
            samples: 1,
            ..Turn::default()
        })
    }

    fn chat(&self, branch: &[Message], begun: Option<Begun>) -> Prompt {
        let mut messages = Vec::with_capacity(branch.len() + 2);
        if !self.system.trim().is_empty() {
            messages.push(Said::text("system", self.system.clone()));
        }
        messages.extend(branch.iter().map(said));
        let continues = begun.is_some();
        if let Some(Begun { text, reasoning }) = begun {
            let reasoning = Some(reasoning).filter(|text| !text.is_empty());
            messages.push(Said { reasoning, ..Said::text("assistant", text) });
        }
        Prompt::Chat { messages, variables: Map::new(), continues }
    }
}

/// What an answer begins with.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Begun {
    /// The text.
    pub(super) text: String,
    /// The reasoning before it.
    pub(super) reasoning: String,
}

fn said(message: &Message) -> Said {
    let reasoning = Some(message.reasoning.clone()).filter(|text| !text.is_empty());
    Said { reasoning, ..Said::text(message.role.name(), message.content.clone()) }
}

/// For models without a template: everything that was written, one after the other.
fn continuation(branch: &[Message], begun: Option<Begun>) -> Prompt {
    let mut text: String = branch.iter().map(|message| message.content.as_str()).collect();
    text.push_str(&begun.unwrap_or_default().text);
    Prompt::text(text)
}

fn effort(fields: &mut Fields) -> Result<Effort, Refusal> {
    let Some(node) = fields.take("effort") else { return Ok(Effort::Default) };
    match node.value.as_str() {
        Some("off") => Ok(Effort::Off),
        Some("on") => Ok(Effort::On { tokens_max: None }),
        _ => Err(node.refuse("`off` or `on`")),
    }
}

/// What a conversation is called until a person names it: the beginning of what was said first.
pub(super) fn title_of(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let mut words = line.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = words.char_indices().nth(CHARACTERS_MAX) {
        // At a word's end, if there is one in the second half.
        let cut = words[..end].rfind(' ').filter(|cut| *cut > end / 2).unwrap_or(end);
        words.truncate(cut);
        words.push('\u{2026}');
    }
    words
}

/// Whether a message stands for a person.
pub(super) fn is_question(message: &Message) -> bool {
    message.role == Role::User
}
