//! Calls whose arguments are no JSON: they are looked at when they are complete, and handed on as
//! JSON then.

use std::mem::take;
use std::sync::Arc;

use serde_json::Value;

use super::reader::{Piece, Step, argue};
use super::syntax::{Item, Syntax};
use super::{python, tagged};
use crate::Tool;

/// A call as it was written: the tool's name and its arguments.
pub(super) type Written = (String, Value);

/// A call, or several of them, on its way.
pub(super) struct WholeCall {
    syntax: &'static Syntax,
    tools: Arc<[Tool]>,
    /// How much of `held` is the opener and what precedes it.
    opened: usize,
    opener: usize,
    pub(super) held: String,
}

impl WholeCall {
    pub(super) fn new(syntax: &'static Syntax, tools: Arc<[Tool]>, opened: String) -> Self {
        Self { syntax, tools, opened: 0, opener: opened.len(), held: opened }
    }

    /// Takes in the next character.
    pub(super) fn step(&mut self, character: char, pieces: &mut Vec<Piece>) -> Step {
        if self.opened == 0 {
            // Only now it is known how much space precedes the opener.
            self.opened = self.held.len().max(self.opener);
        }
        self.held.push(character);
        let closer = self.syntax.closer.trim();
        let Some(body) = self.held[self.opened..].strip_suffix(closer) else { return Step::Wait };
        match self.calls(body) {
            Some(calls) => {
                hand_on(calls, pieces);
                self.held.clear();
                Step::Done
            }
            None => Step::Fail,
        }
    }

    /// The answer is over. Returns what is text after all.
    pub(super) fn finish(&mut self, pieces: &mut Vec<Piece>) -> String {
        let body = self.held.get(self.opened..).unwrap_or_default();
        match self.calls(body) {
            Some(calls) if self.opened > 0 => {
                hand_on(calls, pieces);
                String::new()
            }
            _ => take(&mut self.held),
        }
    }

    /// The calls that a text consists of; at least one.
    fn calls(&self, body: &str) -> Option<Vec<Written>> {
        match &self.syntax.item {
            Item::Tagged(tags) => tagged::calls(tags, self.syntax.count, body, &self.tools),
            Item::Python => python::calls(body),
            Item::Object(_) | Item::Keyed | Item::Named(_) => None,
        }
    }
}

fn hand_on(calls: Vec<Written>, pieces: &mut Vec<Piece>) {
    for (name, arguments) in calls {
        pieces.push(Piece::CallBegun { name });
        argue(pieces, &arguments.to_string());
    }
}
