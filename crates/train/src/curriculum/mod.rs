//! Conversations for a small model that is reliable in what it claims to do, made in code: small
//! talk about itself, calls of the calculator, answers from a passage and saying when it does not
//! hold them, instructions of a system, arithmetic by steps, calls of the operating system.
//!
//! A conversation is a template of its skill with words and numbers in its gaps. What is held out
//! is asked by other templates, about other names, things and places, and so measures what carries
//! over: no five words that follow one another in a template of one side do so in one of the other,
//! and a held-out template has no word that no training template has. What the model says of
//! itself, and what calls give, is the same on both sides: it is the question that has to carry
//! over.
//!
//! Each item says how an answer to it is judged (`Check`), so the same items are training data,
//! evaluation, and rewards. Everything follows from a seed and a number.

mod arithmetic;
mod calculator;
mod instruction;
mod passage;
mod syscall;
mod talk;
mod template;
#[cfg(test)]
mod tests;
mod words;

use lucid_tokenizer::template::{Message, ToolCall};
use serde_json::{Value, json};

use crate::conversation::Conversation;
use crate::random::Random;

/// What a model can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skill {
    /// Says what it is and what it does.
    Talk,
    /// Calls the calculator and says what that gave.
    Calculator,
    /// Answers from a passage, or says that the passage does not tell.
    Passage,
    /// Does as the system says.
    Instruction,
    /// Computes by steps.
    Arithmetic,
    /// Calls the operating system.
    Syscall,
}

impl Skill {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Talk,
        Self::Calculator,
        Self::Passage,
        Self::Instruction,
        Self::Arithmetic,
        Self::Syscall,
    ];

    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Talk => "talk",
            Self::Calculator => "calculator",
            Self::Passage => "passage",
            Self::Instruction => "instruction",
            Self::Arithmetic => "arithmetic",
            Self::Syscall => "syscall",
        }
    }
}

/// Which templates and words an item is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// To learn from.
    Training,
    /// To measure on.
    HeldOut,
}

/// How an answer is judged.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// It has one of these, as words of their own.
    Says(Vec<String>),
    /// Its last number is this one; commas between digits do not count.
    Number(String),
    /// It says that the passage does not tell.
    Declines,
    /// It is this and nothing else, but for white space at its ends.
    Exactly(String),
    /// It calls this tool with these arguments.
    Calls {
        /// The tool's name.
        name: String,
        /// Its arguments.
        arguments: Value,
    },
}

/// A conversation whose last answer can be judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// What it needs.
    pub skill: Skill,
    /// All of it, with a right answer.
    pub conversation: Conversation,
    /// How the answer after its last question is judged.
    pub check: Check,
}

/// An item: the same for the same seed and number.
pub fn item(skill: Skill, side: Side, seed: u64, number: u64) -> Item {
    let purpose = format!("lucid: curriculum of {}, {side:?}", skill.name());
    let mut made = Maker { side, random: Random::new(&purpose, seed, number) };
    let (conversation, check) = match skill {
        Skill::Talk => talk::make(&mut made),
        Skill::Calculator => calculator::make(&mut made),
        Skill::Passage => passage::make(&mut made),
        Skill::Instruction => instruction::make(&mut made),
        Skill::Arithmetic => arithmetic::make(&mut made),
        Skill::Syscall => syscall::make(&mut made),
    };
    Item { skill, conversation, check }
}

/// Every template of a side, with its gaps: for whoever counts or compares them.
pub fn templates(side: Side) -> Vec<&'static str> {
    let parts = [
        talk::templates(side),
        calculator::templates(side),
        passage::templates(side),
        instruction::templates(side),
        arithmetic::templates(side),
        syscall::templates(side),
        template::templates(side),
    ];
    parts.concat()
}

impl Item {
    /// As a line of a file that `lucid sft` reads, with the skill and the check beside it.
    pub fn to_json(&self) -> Value {
        let messages: Vec<Value> = self.conversation.messages.iter().map(message).collect();
        let mut line = json!({ "messages": messages });
        if !self.conversation.tools.is_empty() {
            line["tools"] = Value::Array(self.conversation.tools.clone());
        }
        line["skill"] = json!(self.skill.name());
        line["check"] = match &self.check {
            Check::Says(any) => json!({ "says": any }),
            Check::Number(number) => json!({ "number": number }),
            Check::Declines => json!("declines"),
            Check::Exactly(text) => json!({ "exactly": text }),
            Check::Calls { name, arguments } => {
                json!({ "calls": { "name": name, "arguments": arguments } })
            }
        };
        line
    }
}

fn message(message: &Message) -> Value {
    let mut value = json!({ "role": message.role, "content": message.content });
    if !message.tool_calls.is_empty() {
        let call = |call: &ToolCall| {
            json!({ "type": "function", "function": {
            "name": call.name, "arguments": call.arguments } })
        };
        value["tool_calls"] = message.tool_calls.iter().map(call).collect();
    }
    value
}

impl Check {
    /// Whether an answer is right: what it says, and the calls that it makes.
    pub fn judge(&self, text: &str, calls: &[ToolCall]) -> bool {
        match self {
            Self::Says(any) => calls.is_empty() && any.iter().any(|one| has_words(text, one)),
            Self::Number(number) => {
                let last = numbers(text).filter(|one| !one.is_empty()).last();
                calls.is_empty() && last.as_deref() == Some(number)
            }
            Self::Declines => calls.is_empty() && text.contains(passage::DECLINES),
            Self::Exactly(wanted) => calls.is_empty() && text.trim() == wanted,
            Self::Calls { name, arguments } => {
                matches!(calls, [call] if call.name == *name && call.arguments == *arguments)
            }
        }
    }
}

/// Whether words stand in a text as words, not as parts of others.
fn has_words(text: &str, words: &str) -> bool {
    text.match_indices(words).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + words.len()..].chars().next();
        ![before, after].iter().flatten().any(|c| c.is_alphanumeric())
    })
}

/// The numbers that stand in a text, without commas and without a point at their end.
fn numbers(text: &str) -> impl Iterator<Item = String> {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '-' | '/');
    let words = text.split(move |c: char| !is_part(c));
    words.map(|word| word.replace(',', "").trim_end_matches('.').to_owned())
}

/// What a word stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Like {
    /// Somebody's or a place's name.
    Name,
    /// One thing.
    One,
    /// Many things.
    Many,
    /// A file.
    File,
    /// Something to be done.
    Task,
    /// One of few that there are.
    Known,
}

/// What items are made with.
struct Maker {
    side: Side,
    random: Random,
}

impl Maker {
    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    /// A number from a range, both ends included.
    fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.random.below(most - least + 1)
    }

    /// One of some.
    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// A number of so many digits at most, each length as likely.
    fn number(&mut self, digits_max: u32) -> u64 {
        let digits = self.between(1, u64::from(digits_max)) as u32;
        let least = if digits == 1 { 0 } else { 10u64.pow(digits - 1) };
        self.between(least, 10u64.pow(digits) - 1)
    }

    /// A word of this side: of each list the last fifth is held out. To learn from, half of all
    /// words are made up: what nobody can know by heart has to be looked up where it stands.
    fn word(&mut self, list: &[&'static str], like: Like) -> String {
        let cut = list.len() - list.len() / 5;
        if self.side == Side::HeldOut {
            return self.one(&list[cut..]).to_owned();
        }
        let makes_up = like != Like::Known && self.below(2) == 0;
        if makes_up { self.made_up(like) } else { self.one(&list[..cut]).to_owned() }
    }

    fn made_up(&mut self, like: Like) -> String {
        let mut word = String::new();
        for _ in 0..self.between(2, 3) {
            word.push_str(self.one(&words::BEGINS));
            word.push_str(self.one(&words::VOWELS));
        }
        if self.below(2) == 0 {
            word.push_str(self.one(&words::ENDS));
        }
        match like {
            Like::Name => {
                let first = word[..1].to_uppercase();
                word.replace_range(..1, &first);
            }
            Like::Many => word.push('s'),
            Like::File => word.push_str(self.one(&[".txt", ".md", ".csv"])),
            Like::Task => word = format!("{} the {word}", self.one(&words::VERBS)),
            Like::One | Like::Known => {}
        }
        word
    }
}

/// A conversation of messages.
fn talked(messages: Vec<Message>) -> Conversation {
    Conversation { messages, tools: Vec::new() }
}

fn user(text: impl Into<String>) -> Message {
    Message::text("user", text)
}

fn assistant(text: impl Into<String>) -> Message {
    Message::text("assistant", text)
}

/// An answer that is one call.
fn call(name: &str, arguments: Value) -> Message {
    let call = ToolCall { id: String::new(), name: name.to_owned(), arguments };
    Message { role: "assistant".to_owned(), tool_calls: vec![call], ..Message::default() }
}

/// A tool as a system's message declares it.
fn tool(name: &str, description: &str, parameters: &Value) -> Value {
    json!({ "type": "function", "function": {
        "name": name, "description": description, "parameters": parameters } })
}
