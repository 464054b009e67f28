//! The shapes in which people keep comparisons of answers.
//!
//! Sources: TRL's dataset formats (`prompt`, `chosen`, `rejected` as texts or messages, with the
//! question alone or in both; `label` of an answer that was judged alone); `LLaMA-Factory`'s
//! data/README.md (`conversations` with `chosen` and `rejected`, `chosen_messages`, `kto_tag`);
//! Anthropic's hh-rlhf (dialogues as one text, `Human:` and `Assistant:`).

use lucid_tokenizer::template::Message;
use serde_json::{Map, Value};

use super::check::{self, Refusal};
use super::{Conversation, shapes};

/// An answer, and how it was judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The question with the answer that is meant: the better one of two.
    pub conversation: Conversation,
    /// How it was judged.
    pub verdict: Verdict,
}

/// How an answer was judged.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It is better than the last answer here, to the same question.
    Over(Conversation),
    /// Good, by itself.
    Good,
    /// Bad, by itself.
    Bad,
}

/// Reads a comparison in any of the shapes; with the number of messages that were trimmed.
pub(super) fn comparison(value: &Value) -> Result<(Comparison, usize), Refusal> {
    let Value::Object(object) = value else { return Err(Refusal::NoObject) };
    let keys = [("chosen", "rejected"), ("chosen_messages", "rejected_messages")];
    let sides = keys.iter().find_map(|(a, b)| object.get(*a).zip(object.get(*b)));
    let Some((chosen, rejected)) = sides else { return alone(value, object) };
    let question = question(object)?;
    let mut both = Vec::new();
    let mut trimmed = 0;
    for side in [chosen, rejected] {
        let mut conversation = question.clone();
        let answers = answers(side)?;
        let speaks_first = answers.iter().find(|message| message.role != "system");
        if speaks_first.is_some_and(|first| matches!(first.role.as_str(), "user" | "human")) {
            // It holds the question as well, which is not said twice.
            let system = answers.first().is_some_and(|first| first.role == "system");
            conversation.messages.retain(|message| message.role == "system" && !system);
        }
        conversation.messages.extend(answers);
        trimmed += check::check(&mut conversation)?;
        both.push(conversation);
    }
    let (Some(rejected), Some(conversation)) = (both.pop(), both.pop()) else {
        unreachable!("there are two sides")
    };
    let before = |of: &Conversation| of.messages[..of.messages.len() - 1].to_vec();
    if before(&conversation) != before(&rejected) {
        return Err(Refusal::OtherQuestion);
    }
    if conversation.messages.last() == rejected.messages.last() {
        return Err(Refusal::SameAnswer);
    }
    Ok((Comparison { conversation, verdict: Verdict::Over(rejected) }, trimmed))
}

/// A conversation with a judgement of its last answer.
fn alone(value: &Value, object: &Map<String, Value>) -> Result<(Comparison, usize), Refusal> {
    let label = object.get("label").or_else(|| object.get("kto_tag"));
    let verdict = match label {
        Some(Value::Bool(true)) => Verdict::Good,
        Some(Value::Bool(false)) => Verdict::Bad,
        _ => return Err(Refusal::NoComparison),
    };
    let mut conversation = shapes::conversation(value)?;
    let trimmed = check::check(&mut conversation)?;
    Ok((Comparison { conversation, verdict }, trimmed))
}

/// What stands before the answers, as far as it is told apart from them.
fn question(object: &Map<String, Value>) -> Result<Conversation, Refusal> {
    let tools = shapes::tools_of(object)?;
    let mut messages = shapes::system(object)?.into_iter().collect::<Vec<_>>();
    if let Some(Value::Array(all)) = object.get("messages") {
        messages.extend(all.iter().map(shapes::open_ai).collect::<Result<Vec<_>, _>>()?);
    } else if let Some(Value::Array(all)) = object.get("conversations") {
        messages.extend(all.iter().map(shapes::share_gpt).collect::<Result<Vec<_>, _>>()?);
    }
    // Some keep the better answer there, too.
    while messages.last().is_some_and(|message| message.role == "assistant") {
        messages.pop();
    }
    if !messages.iter().all(|message| message.role == "system") {
        return Ok(Conversation { messages, tools });
    }
    if let Some(instruction) = object.get("instruction") {
        messages.extend(shapes::history(object)?);
        messages.push(shapes::asked(object, instruction)?);
    } else if let Some(prompt) = object.get("prompt") {
        messages.extend(shapes::side(prompt, "user")?);
    }
    Ok(Conversation { messages, tools })
}

/// One side: a text, a message, messages, or a dialogue in one text.
fn answers(side: &Value) -> Result<Vec<Message>, Refusal> {
    match side {
        Value::String(text) => match dialogue(text) {
            Some(messages) => Ok(messages),
            None => shapes::side(side, "assistant"),
        },
        Value::Object(message) if message.contains_key("from") => {
            Ok(vec![shapes::share_gpt(side)?])
        }
        Value::Object(_) => Ok(vec![shapes::open_ai(side)?]),
        _ => shapes::side(side, "assistant"),
    }
}

/// The messages of a dialogue that is one text, which begins with a person's.
fn dialogue(text: &str) -> Option<Vec<Message>> {
    let text = text.strip_prefix("\n\n")?;
    text.starts_with("Human:").then_some(())?;
    let mut messages: Vec<(&str, String)> = Vec::new();
    for part in text.split("\n\n") {
        let human = part.strip_prefix("Human:").map(|said| ("user", said));
        let said = human.or(part.strip_prefix("Assistant:").map(|said| ("assistant", said)));
        match (said, messages.last_mut()) {
            // One who goes on says more of the same message.
            (Some((role, said)), Some((last, content))) if *last == role => {
                content.push_str("\n\n");
                content.push_str(said.trim());
            }
            (Some((role, said)), _) => messages.push((role, said.to_owned())),
            (None, Some((_, content))) => {
                content.push_str("\n\n");
                content.push_str(part);
            }
            (None, None) => return None,
        }
    }
    Some(messages.iter().map(|(role, said)| Message::text(*role, said.trim())).collect())
}
