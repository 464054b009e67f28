//! Pages: the typed texts that windows are made of.

use serde::{Deserialize, Serialize};

use lucid_policy::{Label, SourceKind};

use crate::ids::{CallId, ContentId, PageId};

/// A text in a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Its number, which no other page of its process has: what a process is shown depends on what
    /// it has read, and not on what others did meanwhile.
    pub id: PageId,
    /// What it is for.
    pub kind: PageKind,
    /// Whose turn it is in the conversation.
    pub speaker: Speaker,
    /// Where it comes from, in words: `file:report.txt`.
    pub source: String,
    /// What kind of place that is; none if a process wrote it.
    pub source_kind: Option<SourceKind>,
    /// Its text.
    pub content: ContentId,
    /// Bytes of the text.
    pub bytes: u64,
    /// Tokens that it takes in the window.
    pub tokens: u64,
    /// What is known of it.
    pub label: Label,
    /// The page whose text this one shows again.
    pub copy_of: Option<PageId>,
}

/// What a page is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageKind {
    /// What the system says of itself. Never goes out.
    Policy,
    /// Instructions of the application.
    System,
    /// What is to be done. Never goes out.
    Goal,
    /// What the process noted of how far it is.
    TaskState,
    /// A file.
    File,
    /// What a call gave.
    ToolOutput,
    /// What was said.
    Dialogue,
    /// A message of another process, or of a timer.
    Message,
    /// What was made of other pages.
    Summary,
}

impl PageKind {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::System => "system",
            Self::Goal => "goal",
            Self::TaskState => "state",
            Self::File => "file",
            Self::ToolOutput => "result",
            Self::Dialogue => "dialogue",
            Self::Message => "message",
            Self::Summary => "summary",
        }
    }

    /// Whether pages of this kind stay in the window whatever it costs.
    pub fn stays(self) -> bool {
        matches!(self, Self::Policy | Self::Goal)
    }
}

/// Whose turn a page is in the conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// The system.
    System,
    /// A person, or what stands in for one.
    Person,
    /// The process itself.
    Process {
        /// The calls that it made.
        calls: Vec<CallRecord>,
        /// Its reasoning.
        reasoning: Option<ContentId>,
    },
    /// The answer to a call.
    Result {
        /// Which call.
        call: CallId,
    },
}

/// A call as a process wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRecord {
    /// Its number.
    pub id: CallId,
    /// What is called.
    pub name: String,
    /// The JSON text of the arguments.
    pub arguments: ContentId,
}
