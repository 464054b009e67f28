//! How a model's chat template has it write reasoning and calls of tools: found out from the
//! template's source, read back from answers (`Reader`), and demanded of them (`grammar`).
//!
//! Invariant: no part of an answer is lost. What looks like a call and is none is text again.

mod families;
mod json_call;
mod nest;
mod python;
mod reader;
pub(crate) mod syntax;
mod tagged;
mod whole_call;

use std::ops::Range;

pub use reader::{Piece, Reader};

use crate::Tool;
use syntax::{Bare, Marks, Syntax};

/// How a template writes reasoning and calls.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Format {
    reasoning: Option<Marks>,
    calls: Option<&'static Syntax>,
    frames: &'static [&'static str],
}

/// Where an answer begins, as far as reasoning goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Begins {
    /// Inside a reasoning that the prompt has opened.
    InReasoning,
    /// Outside: the model may open one.
    #[default]
    Outside,
    /// After a reasoning that the prompt has closed.
    AfterReasoning,
}

impl Format {
    /// What the source of a template shows.
    pub fn of_template(source: &str) -> Self {
        let has = |sign: &&str| source.contains(sign);
        let calls = families::ALL
            .iter()
            .find(|syntax| syntax.signs.iter().any(|group| group.iter().all(has)));
        let reasoning = families::REASONING.iter().find(|(sign, _)| source.contains(sign));
        let frames = families::FRAMES.iter().find(|(sign, _)| source.contains(sign));
        Self {
            calls: calls.copied(),
            reasoning: reasoning.map(|&(_, marks)| marks),
            frames: frames.map_or(&[], |&(_, frames)| frames),
        }
    }

    /// Whether answers may contain reasoning.
    pub fn reasons(&self) -> bool {
        self.reasoning.is_some()
    }

    /// Whether answers may contain calls of tools.
    pub fn calls_tools(&self) -> bool {
        self.calls.is_some()
    }

    /// What the syntax of calls is called here.
    pub fn call_syntax(&self) -> Option<&'static str> {
        self.calls.map(|syntax| syntax.name)
    }

    /// What opens and what closes a reasoning.
    pub fn reasoning_marks(&self) -> Option<(&'static str, &'static str)> {
        self.reasoning.map(|marks| (marks.opener, marks.closer))
    }

    /// Whether answers are written with this text, the spelling of a control token: a reader must
    /// see it then.
    pub fn writes(&self, text: &str) -> bool {
        let reasoning = self.reasoning.iter().flat_map(|marks| [marks.opener, marks.closer]);
        let calls = self.calls.into_iter().flat_map(Syntax::texts);
        let mut texts = reasoning.chain(calls).chain(self.frames.iter().copied());
        texts.any(|written| written.contains(text))
    }

    /// Where an answer to this prompt begins. A mark that a person wrote (`literal`) does not
    /// count.
    pub fn begins(&self, prompt: &str, literal: &[Range<usize>]) -> Begins {
        let Some(marks) = self.reasoning else { return Begins::Outside };
        let prompt = prompt.trim_end();
        let written =
            literal.iter().any(|range| range.start < prompt.len() && range.end >= prompt.len());
        if written {
            Begins::Outside
        } else if prompt.ends_with(marks.opener) {
            Begins::InReasoning
        } else if prompt.ends_with(marks.closer) {
            Begins::AfterReasoning
        } else {
            Begins::Outside
        }
    }

    /// A reader of one answer to a prompt with these tools. Without tools nothing is a call.
    pub fn reader(&self, begins: Begins, tools: &[Tool]) -> Reader {
        Reader::new(*self, begins, tools)
    }

    pub(crate) fn reasoning(&self) -> Option<Marks> {
        self.reasoning
    }

    pub(crate) fn calls(&self) -> Option<&'static Syntax> {
        self.calls
    }

    /// The syntax that a reader goes by.
    fn readable(&self, tools: &[Tool]) -> Option<&'static Syntax> {
        let framed = |syntax: &&Syntax| !tools.is_empty() || syntax.bare == Bare::Prompt;
        self.calls.filter(framed)
    }
}
