//! What a tool is.

use serde_json::{Map, Value};

use lucid_policy::{Audience, Grant, Party, SourceKind};

/// The arguments of a call, by name.
pub type Arguments = Map<String, Value>;

/// Something that a process can call.
pub trait Tool: Send + Sync {
    /// What it is.
    fn card(&self) -> &ToolCard;

    /// Does it. The grant is used up: one decision, one call.
    ///
    /// # Errors
    /// The arguments are wrong or it cannot be done; then nothing was done.
    fn call(
        &self,
        grant: Grant,
        arguments: &Arguments,
        setting: &Setting<'_>,
    ) -> Result<Outcome, ToolError>;

    /// What became of a call that was begun under this key and of whose end nothing is known,
    /// because the program was killed in between.
    fn settle(&self, key: &str) -> Settled {
        let _ = key;
        Settled::Unknown
    }

    /// Where an argument that is a destination leads to: its canonical form, and who can read what
    /// goes there.
    ///
    /// # Errors
    /// It is none.
    fn destination(&self, argument: &str, value: &str) -> Result<Destination, ToolError> {
        let _ = argument;
        let audience = Audience::of(&Party::new(value));
        Ok(Destination { canonical: value.to_owned(), audience })
    }
}

/// What a tool is.
#[derive(Clone, Debug)]
pub struct ToolCard {
    /// How decisions see it: its name, its effect, and what its arguments mean.
    pub policy: lucid_policy::Tool,
    /// What it is for, in a line: models read it.
    pub description: String,
    /// The JSON schema of its arguments.
    pub parameters: Value,
    /// What kind of source its results are.
    pub source: SourceKind,
}

/// What a call may know of where it is made.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// Milliseconds since 1970.
    pub now_ms: i64,
    /// What the local clock is ahead of UTC, in minutes.
    pub offset_minutes: i32,
    /// The same for a call that is made once more after a crash, and for no other call.
    pub key: &'a str,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// For the process to read.
    pub text: String,
    /// Where the text comes from, such as `web:example.org`; none is the tool itself. A text that
    /// repeats an argument is `Computed`, for it would be taken for the source's word.
    pub source: Option<(SourceKind, String)>,
}

impl Outcome {
    /// A text of the tool's own.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), source: None }
    }
}

/// What became of a call that was broken off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was done, with this outcome.
    Done(Outcome),
    /// It was not done, and will not be: it can be made again.
    NotDone,
    /// Nobody can tell.
    Unknown,
}

/// Where something goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The one way to write it.
    pub canonical: String,
    /// Who can read what goes there.
    pub audience: Audience,
}

/// A call was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    /// An argument is not what it must be.
    #[error("{argument}: {reason}")]
    Argument {
        /// Which.
        argument: String,
        /// What is wrong, and what is expected.
        reason: String,
    },
    /// It cannot be done.
    #[error("{reason}")]
    Failed {
        /// Why.
        reason: String,
    },
}

impl ToolError {
    /// An argument is not what it must be.
    pub fn argument(argument: &str, reason: impl Into<String>) -> Self {
        Self::Argument { argument: argument.to_owned(), reason: reason.into() }
    }

    /// It cannot be done.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::Failed { reason: reason.into() }
    }

    /// A text among arguments.
    ///
    /// # Errors
    /// It is missing or no text.
    pub fn text<'a>(arguments: &'a Arguments, name: &str) -> Result<&'a str, Self> {
        arguments
            .get(name)
            .ok_or_else(|| Self::argument(name, "it is missing"))?
            .as_str()
            .ok_or_else(|| Self::argument(name, "a text is expected"))
    }
}
