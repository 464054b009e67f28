//! What a conversation has to be, and what is trimmed where it is not quite that.

use std::fmt;

use super::Conversation;
use super::shapes::short;

/// Why a conversation is not learned from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// The line is no JSON.
    Json,
    /// The line is longer than any conversation.
    Length,
    /// A JSON value that is no object.
    NoObject,
    /// No `messages`, `conversations`, `instruction` or `prompt` with `completion`.
    Shape,
    /// A message without a role.
    NoRole,
    /// A role that nobody has.
    Role {
        /// Which.
        role: String,
    },
    /// Something other than a text where a text stands.
    Text {
        /// Whose.
        role: String,
    },
    /// A call that cannot be read.
    Call,
    /// Tools that are no list.
    Tools,
    /// An answer that is marked as not to be learned.
    Weight,
    /// Messages whose order no conversation has.
    Order {
        /// Whose message came too early.
        role: String,
    },
    /// A message that says nothing.
    Empty {
        /// Whose.
        role: String,
    },
    /// Nothing that the assistant says.
    NoAnswer,
    /// The model's template cannot write it.
    Template {
        /// Why.
        reason: String,
    },
    /// Not even its first answer fits a row.
    TooLong,
    /// Neither two answers nor one with a judgement.
    NoComparison,
    /// Two answers to different questions.
    OtherQuestion,
    /// Twice the same answer.
    SameAnswer,
    /// An answer that was judged alone, where pairs are learned from.
    Unpaired,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json => write!(f, "no JSON"),
            Self::Length => write!(f, "longer than any conversation"),
            Self::NoObject => write!(f, "no JSON object"),
            Self::Shape => write!(
                f,
                "none of the known shapes (messages; conversations; instruction and output; \
                 prompt and completion)"
            ),
            Self::NoRole => write!(f, "a message without a role"),
            Self::Role { role } => write!(f, "the unknown role `{role}`"),
            Self::Text { role } => write!(f, "something that is no text, of the {role}"),
            Self::Call => write!(f, "a call that cannot be read"),
            Self::Tools => write!(f, "tools that are no list"),
            Self::Weight => write!(f, "an answer of weight 0, which is not supported"),
            Self::Order { role } => write!(f, "a message of the {role} out of order"),
            Self::Empty { role } => write!(f, "an empty message of the {role}"),
            Self::NoAnswer => write!(f, "no answer of the assistant"),
            Self::Template { reason } => write!(f, "the template refuses it: {reason}"),
            Self::TooLong => write!(f, "the first answer does not fit a row"),
            Self::NoComparison => write!(
                f,
                "no comparison (chosen and rejected; or a conversation with a label, true or false)"
            ),
            Self::OtherQuestion => write!(f, "two answers to different questions"),
            Self::SameAnswer => write!(f, "twice the same answer"),
            Self::Unpaired => write!(f, "an answer that was judged alone; only kto learns from it"),
        }
    }
}

/// What the roles of a conversation are called elsewhere.
fn usual(role: &str) -> Option<&'static str> {
    Some(match role {
        "system" | "developer" => "system",
        "user" | "human" => "user",
        "assistant" | "model" | "gpt" => "assistant",
        "tool" | "function" | "observation" | "ipython" => "tool",
        _ => return None,
    })
}

/// Brings a conversation into the order that templates expect, or says why that cannot be. Returns
/// how many messages were trimmed: an assistant's before the first question, and whatever follows
/// the last answer.
///
/// The order: a system's message at most, at the beginning; then a user's message and an answer in
/// turn, where an answer may be calls, their results, and more of it.
pub(super) fn check(conversation: &mut Conversation) -> Result<usize, Refusal> {
    let before = conversation.messages.len();
    for message in &mut conversation.messages {
        let role = usual(&message.role);
        let unknown = || Refusal::Role { role: short(&message.role) };
        role.ok_or_else(unknown)?.clone_into(&mut message.role);
    }
    let messages = &mut conversation.messages;
    for message in messages.iter_mut().filter(|message| message.role == "tool") {
        message.content.get_or_insert_default();
    }
    if messages.first().is_some_and(|first| {
        first.role == "system" && first.content.as_deref().is_none_or(|text| text.trim().is_empty())
    }) {
        messages.remove(0);
    }
    let first = usize::from(messages.first().is_some_and(|message| message.role == "system"));
    let early = messages[first..].iter().take_while(|message| message.role == "assistant").count();
    messages.drain(first..first + early);
    let answers = messages.iter().rposition(|message| message.role == "assistant");
    let Some(last) = answers else { return Err(Refusal::NoAnswer) };
    messages.truncate(last + 1);
    let mut previous = "system";
    // Calls whose results have not come.
    let mut open = 0usize;
    for (at, message) in messages.iter().enumerate() {
        let role = message.role.as_str();
        let fits = match role {
            "system" => at == 0,
            "user" => open == 0 && matches!(previous, "system" | "assistant"),
            "assistant" => open == 0 && matches!(previous, "user" | "tool"),
            _ => open > 0,
        };
        if !fits {
            return Err(Refusal::Order { role: role.to_owned() });
        }
        let says = message.content.as_deref().is_some_and(|text| !text.trim().is_empty());
        // A tool may have nothing to say.
        if !says && message.tool_calls.is_empty() && role != "tool" {
            return Err(Refusal::Empty { role: role.to_owned() });
        }
        open = match role {
            "assistant" => message.tool_calls.len(),
            _ => open.saturating_sub(1),
        };
        previous = role;
    }
    Ok(before - conversation.messages.len())
}
