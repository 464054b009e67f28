//! A conversation as a file: JSON with all branches, or Markdown of the branch that is shown.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::show;
use crate::store::{Conversation, Message, Role};

/// Everything, with all branches. Parents and identifiers tell the tree.
pub(super) fn json(conversation: &Conversation, messages: &[Message]) -> String {
    let messages: Vec<Value> = messages
        .iter()
        .map(|message| {
            json!({
                "id": message.id,
                "parent": message.parent,
                "role": message.role.name(),
                "text": message.content,
                "reasoning": message.reasoning,
                "calls": message.calls,
                "model": message.model,
                "state": message.state.name(),
                "detail": message.detail,
                "created": message.created,
            })
        })
        .collect();
    let whole = json!({
        "format": "lucid-conversation-1",
        "conversation": show::conversation(conversation),
        "messages": messages,
    });
    format!("{whole:#}\n")
}

/// The branch that is shown.
pub(super) fn markdown(conversation: &Conversation, branch: &[Message]) -> String {
    let title = match conversation.title.as_str() {
        "" => "Conversation",
        title => title,
    };
    let mut text = format!("# {title}\n");
    for message in branch {
        let who = match (message.role, message.model.as_str()) {
            (Role::User, _) => "You",
            (Role::Assistant, "") => "Model",
            (Role::Assistant, model) => model,
        };
        let _ = write!(text, "\n## {who}\n\n{}\n", message.content.trim_end());
    }
    text
}
