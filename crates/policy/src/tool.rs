//! What a tool does to the world, and what each of its arguments means: all that a decision may
//! know of it.

use serde::{Deserialize, Serialize};

/// What a call does outside of the process that makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Nothing: a calculator, a clock.
    None,
    /// It brings something in that is already here: a file of the application, a note, a page.
    Read,
    /// It changes what belongs to the application alone and can be rolled back.
    Inside,
    /// It reaches somebody, or something that cannot be rolled back: a message, a request over the
    /// network (whose address alone tells something), money.
    Outside,
}

impl Effect {
    /// All of them.
    pub const ALL: [Effect; 4] = [Effect::None, Effect::Read, Effect::Inside, Effect::Outside];
}

/// What an argument decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Where the effect goes: an address, a URL, a path, an account, a recipient.
    Destination,
    /// How much, when, which one: an amount, a date, a choice.
    Consequence,
    /// What is carried: a text, an attachment, a search.
    Content,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 3] = [Role::Destination, Role::Consequence, Role::Content];
}

/// An argument of a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArgumentSpec {
    /// Its name.
    pub name: String,
    /// What it decides.
    pub role: Role,
    /// Whether a call may leave it out.
    pub optional: bool,
}

/// A tool as decisions see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    pub effect: Effect,
    /// What it takes. A list is given as an argument for each of its elements.
    pub arguments: Vec<ArgumentSpec>,
}

impl Tool {
    /// The argument of a name.
    pub fn argument(&self, name: &str) -> Option<&ArgumentSpec> {
        self.arguments.iter().find(|argument| argument.name == name)
    }
}
