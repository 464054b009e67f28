//! An answer read as it comes in: reasoning, text and calls of tools apart.
//!
//! Invariants: pieces depend on the text alone, not on how it was cut, but for where a piece is cut
//! itself; what turns out to be no call is text, in full. White space around reasoning and calls
//! belongs to the format and is dropped. Once a call's arguments have begun it is a call: they are
//! handed on as they come, even if they turn out to be no JSON.

use std::mem::take;
use std::sync::Arc;

use super::json_call::JsonCall;
use super::syntax::{Bare, Item, Syntax};
use super::whole_call::WholeCall;
use super::{Begins, Format};
use crate::Tool;

/// How often text that was held for a call is looked through again. An honest answer has a few.
const RETRIES_MAX: usize = 64;

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// What is said.
    Text(String),
    /// What is thought.
    Reasoning(String),
    /// A call begins.
    CallBegun {
        /// The tool's name.
        name: String,
    },
    /// The arguments of the last call that began go on: JSON text.
    CallArguments(String),
}

/// Reads one answer. See `Format::reader`.
pub struct Reader {
    format: Format,
    syntax: Option<&'static Syntax>,
    tools: Arc<[Tool]>,
    state: State,
    /// The beginning of a mark, perhaps.
    pending: String,
    /// White space that is dropped if a mark follows.
    space: String,
    /// What was said since the last mark.
    said: Said,
    retries: usize,
    pieces: Vec<Piece>,
}

enum State {
    Text,
    Reasoning,
    Call(Call),
}

/// A call on its way.
pub(super) enum Call {
    /// JSON, handed on as it comes.
    Json(JsonCall),
    /// Looked at when it is complete.
    Whole(WholeCall),
}

/// What a character meant to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It belongs to the call.
    Wait,
    /// It is the last one of the call.
    Done,
    /// The call ended before it.
    DoneBefore,
    /// It belongs to no call. What was not handed on is text.
    Fail,
}

/// What was said since the last mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// Nothing, since the very beginning.
    Nothing,
    /// Nothing, since a mark: white space is dropped.
    Mark,
    /// Something.
    Something,
}

/// A mark in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Reasoning,
    ReasoningEnd,
    Call,
    Frame,
}

impl Reader {
    pub(super) fn new(format: Format, begins: Begins, tools: &[Tool]) -> Self {
        let syntax = format.readable(tools);
        let tools: Arc<[Tool]> = tools.into();
        let begins = if format.reasons() { begins } else { Begins::Outside };
        let (state, said) = match begins {
            Begins::InReasoning => (State::Reasoning, Said::Mark),
            Begins::Outside => (State::Text, Said::Nothing),
            Begins::AfterReasoning => (State::Text, Said::Mark),
        };
        let mut reader = Self {
            format,
            syntax,
            tools,
            state,
            pending: String::new(),
            space: String::new(),
            said,
            retries: 0,
            pieces: Vec::new(),
        };
        if let Some(syntax) = syntax
            && syntax.bare == Bare::Prompt
            && begins != Begins::InReasoning
        {
            reader.state = State::Call(reader.call(syntax, String::new()));
        }
        reader
    }

    /// Takes in what the answer goes on with, and returns what is known of it.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        text.chars().for_each(|character| self.step(character));
        take(&mut self.pieces)
    }

    /// The answer is over: returns what was held back.
    pub fn finish(&mut self) -> Vec<Piece> {
        if let State::Call(call) = &mut self.state {
            let mut pieces = take(&mut self.pieces);
            let held = match call {
                Call::Json(call) => call.finish(&mut pieces),
                Call::Whole(call) => call.finish(&mut pieces),
            };
            self.pieces = pieces;
            self.state = State::Text;
            self.tell(&held);
        }
        let rest = take(&mut self.pending);
        self.tell(&rest);
        if self.said == Said::Something || self.said == Said::Nothing {
            let space = take(&mut self.space);
            self.emit(&space);
        }
        take(&mut self.pieces)
    }

    fn step(&mut self, character: char) {
        if let State::Call(call) = &mut self.state {
            let step = match call {
                Call::Json(call) => call.step(character, &mut self.pieces),
                Call::Whole(call) => call.step(character, &mut self.pieces),
            };
            return self.called(step, character);
        }
        if self.begins_bare(character) {
            let syntax = self.syntax.expect("only calls are bare");
            self.space.clear();
            self.state = State::Call(self.call(syntax, String::new()));
            return self.step(character);
        }
        self.pending.push(character);
        self.settle();
    }

    /// Goes on after a call took in a character.
    fn called(&mut self, step: Step, character: char) {
        let State::Call(call) = &mut self.state else { return };
        match step {
            Step::Wait => {}
            Step::Done | Step::DoneBefore => {
                self.said = Said::Mark;
                self.state = State::Text;
                if step == Step::DoneBefore {
                    self.step(character);
                }
            }
            Step::Fail => {
                let held = call.held();
                self.state = State::Text;
                self.retry(&held);
            }
        }
    }

    /// Text that was held for a call: its first character is text, the rest may hold another call.
    fn retry(&mut self, held: &str) {
        self.retries += 1;
        let opener = self.syntax.map_or("", |syntax| syntax.opener);
        let space = held.len() - held.trim_start().len();
        let first = held[space..].chars().next().map_or(0, char::len_utf8);
        let opens = held[space..].starts_with(opener);
        let known = space + if opens { opener.len().max(first) } else { first };
        let known = if self.retries > RETRIES_MAX { held.len() } else { known };
        self.tell(&held[..known]);
        for character in held[known..].chars() {
            self.step(character);
        }
    }

    /// Whether an answer in JSON begins that stands for a call.
    fn begins_bare(&self, character: char) -> bool {
        let bare = self.syntax.is_some_and(|syntax| syntax.bare == Bare::WholeAnswer);
        bare && character == '{'
            && self.said != Said::Something
            && self.pending.is_empty()
            && matches!(self.state, State::Text)
    }

    /// Decides on what is pending, as far as possible.
    fn settle(&mut self) {
        while !self.pending.is_empty() {
            let marks = self.marks();
            let longer =
                |text: &str| text.len() > self.pending.len() && text.starts_with(&*self.pending);
            if marks.iter().any(|&(text, _)| longer(text)) {
                return;
            }
            let met = marks.iter().filter(|(text, _)| self.pending.starts_with(text));
            let met = met.max_by_key(|(text, _)| text.len()).copied();
            if let Some((text, mark)) = met {
                let rest = self.pending.split_off(text.len());
                self.pending.clear();
                self.meet(text, mark);
                rest.chars().for_each(|character| self.step(character));
                return;
            }
            let first = self.pending.remove(0);
            self.tell(first.encode_utf8(&mut [0; 4]));
        }
    }

    /// What is to be looked out for.
    fn marks(&self) -> Vec<(&'static str, Mark)> {
        let mut marks = Vec::new();
        let reasoning = self.format.reasoning;
        if let State::Reasoning = self.state {
            marks.extend(reasoning.map(|marks| (marks.closer, Mark::ReasoningEnd)));
            if self.said != Said::Something {
                marks.extend(reasoning.map(|marks| (marks.opener, Mark::Reasoning)));
            }
            return marks;
        }
        // Words such as `<think>` are also spoken of; a control token means itself anywhere.
        let anywhere = |opener: &str| opener.starts_with("<|");
        marks.extend(
            reasoning
                .filter(|marks| self.said != Said::Something || anywhere(marks.opener))
                .map(|marks| (marks.opener, Mark::Reasoning)),
        );
        marks.extend(self.syntax.map(|syntax| (syntax.opener, Mark::Call)));
        marks.extend(self.format.frames.iter().map(|&frame| (frame, Mark::Frame)));
        marks
    }

    fn meet(&mut self, text: &str, mark: Mark) {
        match (mark, self.syntax) {
            (Mark::Call, Some(syntax)) => {
                self.state = State::Call(self.call(syntax, text.to_owned()));
                // If it is no call after all, the space before it is text.
                if let State::Call(call) = &mut self.state {
                    call.precede(&take(&mut self.space));
                }
                return;
            }
            (Mark::Reasoning, _) => self.state = State::Reasoning,
            (Mark::ReasoningEnd | Mark::Frame | Mark::Call, _) => self.state = State::Text,
        }
        self.space.clear();
        self.said = Said::Mark;
    }

    fn call(&self, syntax: &'static Syntax, opened: String) -> Call {
        match syntax.item {
            Item::Object(_) | Item::Keyed | Item::Named(_) => {
                Call::Json(JsonCall::new(syntax, Arc::clone(&self.tools), opened))
            }
            Item::Tagged(_) | Item::Python => {
                Call::Whole(WholeCall::new(syntax, Arc::clone(&self.tools), opened))
            }
        }
    }

    /// Hands on text or reasoning, but for white space that a mark may follow.
    fn tell(&mut self, text: &str) {
        for character in text.chars() {
            if character.is_whitespace() {
                if self.said != Said::Mark {
                    self.space.push(character);
                }
                continue;
            }
            let mut said = take(&mut self.space);
            said.push(character);
            self.emit(&said);
            self.said = Said::Something;
        }
    }

    fn emit(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        match (&self.state, self.pieces.last_mut()) {
            (State::Reasoning, Some(Piece::Reasoning(last)))
            | (State::Text | State::Call(_), Some(Piece::Text(last))) => last.push_str(text),
            (State::Reasoning, _) => self.pieces.push(Piece::Reasoning(text.to_owned())),
            (State::Text | State::Call(_), _) => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }
}

impl Call {
    /// White space that came before the opener.
    fn precede(&mut self, space: &str) {
        match self {
            Self::Json(call) => call.held.insert_str(0, space),
            Self::Whole(call) => call.held.insert_str(0, space),
        }
    }

    /// What was taken in and not handed on.
    fn held(&mut self) -> String {
        match self {
            Self::Json(call) => take(&mut call.held),
            Self::Whole(call) => take(&mut call.held),
        }
    }
}

/// Adds to the arguments of the last call.
pub(super) fn argue(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::CallArguments(last)) => last.push_str(text),
        _ => pieces.push(Piece::CallArguments(text.to_owned())),
    }
}
