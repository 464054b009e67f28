//! Conversations and messages as the page reads them.

use lucid_provider::Capabilities;
use serde_json::{Value, json};

use super::markdown;
use crate::catalog::Entry;
use crate::registry::Loaded;
use crate::store::{Conversation, Message, Role};

/// A conversation without its messages.
pub(super) fn conversation(conversation: &Conversation) -> Value {
    json!({
        "id": conversation.id,
        "title": conversation.title,
        "model": conversation.model,
        "settings": conversation.settings,
        "leaf": conversation.leaf,
        "created": conversation.created,
        "updated": conversation.updated,
    })
}

/// A message, with HTML where a model said it.
pub(super) fn message(message: &Message) -> Value {
    let html = (message.role == Role::Assistant).then(|| markdown::render(&message.content));
    json!({
        "id": message.id,
        "parent": message.parent,
        "role": message.role.name(),
        "text": message.content,
        "html": html,
        "reasoning": message.reasoning,
        "calls": message.calls,
        "model": message.model,
        "state": message.state.name(),
        "detail": message.detail,
        "created": message.created,
        "siblings": message.siblings,
    })
}

/// A model, and what it can do where that is known: when it is loaded.
pub(super) fn model(entry: &Entry, loaded: Option<&Loaded>) -> Value {
    let card = loaded.map(|loaded| loaded.model.provider.card());
    let can = card.map(|card| card.capabilities);
    let told = |ask: fn(Capabilities) -> bool| can.map(ask);
    json!({
        "name": entry.name,
        "bytes": entry.bytes,
        "source": entry.source,
        "loaded": loaded.is_some(),
        "description": card.map(|card| card.description.as_str()),
        "context": card.map(|card| card.context),
        "chat": told(|can| can.chat),
        "reasoning": told(|can| can.reasoning),
        "formats": told(|can| can.formats),
    })
}
