//! Calls whose arguments are JSON, read character by character and handed on as they come.
//!
//! Invariant: `held` is what was taken in since something was last handed on, so that a call that
//! is none can become text again.

use std::mem::take;
use std::sync::Arc;

use serde_json::Value;

use super::nest::{Nest, Place};
use super::reader::{Piece, Step, argue};
use super::syntax::{Bare, Count, Item, Named, Object, Syntax};
use crate::Tool;

/// Characters of a tool's name, with what else stands before the arguments, at most.
const HEADER_MAX: usize = 512;

/// A call, or a list of them, on its way.
pub(super) struct JsonCall {
    syntax: &'static Syntax,
    tools: Arc<[Tool]>,
    phase: Phase,
    /// The part of a fixed text that was seen, without white space.
    seen: usize,
    /// The name and what stands around it; a member's key.
    header: String,
    name: Option<String>,
    /// Arguments that came before the name, or as a string.
    kept: Option<String>,
    nest: Nest,
    pub(super) held: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The fixed text after the opener.
    Lead,
    /// The bracket that opens a list.
    ListOpen,
    /// The fixed text before a name.
    BeforeName,
    /// The name, up to the fixed text before the arguments.
    Name,
    /// The brace that opens an object.
    ObjectOpen,
    /// A key, or the end of the object.
    KeyOrEnd,
    /// Inside a key.
    Key(Escape),
    /// The colon after a key.
    Colon,
    /// A member's value.
    Member(Member),
    /// The arguments of a call whose name is known.
    Arguments,
    /// A comma, or the end of the object.
    CommaOrEnd,
    /// The fixed text after the arguments.
    After,
    /// A comma, or the end of the list; or the next call, or what ends them.
    Between,
    /// The fixed text that ends all.
    Closer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    No,
    Yes,
}

/// What a member of the object is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Name,
    Arguments,
    Other,
}

/// How far a fixed text is met.
enum Met {
    Part,
    Whole,
    Not,
}

impl JsonCall {
    pub(super) fn new(syntax: &'static Syntax, tools: Arc<[Tool]>, opened: String) -> Self {
        let mut call = Self {
            syntax,
            tools,
            phase: Phase::Lead,
            seen: 0,
            header: String::new(),
            name: None,
            kept: None,
            nest: Nest::default(),
            held: opened,
        };
        if call.held.is_empty() && syntax.bare == Bare::WholeAnswer {
            call.phase = Phase::ObjectOpen;
        }
        call
    }

    /// Takes in the next character.
    pub(super) fn step(&mut self, character: char, pieces: &mut Vec<Piece>) -> Step {
        self.held.push(character);
        loop {
            let step = match self.phase {
                Phase::Lead => self.fixed(character, self.syntax.lead, Self::first),
                Phase::BeforeName => {
                    let before = self.named().map_or("", |named| named.before_name);
                    self.fixed(character, before, |_| Phase::Name)
                }
                Phase::After => {
                    let after = self.named().map_or("", |named| named.after);
                    self.fixed(character, after, Self::next)
                }
                Phase::Closer => match met(self.syntax.closer, &mut self.seen, character) {
                    Met::Part => Some(Step::Wait),
                    Met::Whole => Some(Step::Done),
                    Met::Not if self.seen == 0 && self.syntax.closer.is_empty() => {
                        self.held.pop();
                        Some(Step::DoneBefore)
                    }
                    Met::Not => Some(Step::Fail),
                },
                Phase::Name => Some(self.name_step(character)),
                Phase::Arguments => self.arguments_step(character, pieces),
                Phase::Between => Some(self.between_step(character)),
                Phase::Member(member) => self.member_step(member, character, pieces),
                _ => Some(self.object_step(character, pieces)),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// The answer is over. Returns what is text after all.
    pub(super) fn finish(&mut self, pieces: &mut Vec<Piece>) -> String {
        let own = self.held.trim().chars().all(|character| "}]".contains(character));
        match self.phase {
            // Cut off in the middle: a call all the same.
            Phase::Arguments if self.name.is_none() => {
                self.hand_on_kept(pieces);
                String::new()
            }
            // Complete but for the format's own texts.
            Phase::After | Phase::Closer if own || self.seen > 0 => String::new(),
            Phase::Between | Phase::CommaOrEnd if own => String::new(),
            _ => take(&mut self.held),
        }
    }

    fn named(&self) -> Option<&'static Named> {
        match &self.syntax.item {
            Item::Named(named) => Some(named),
            _ => None,
        }
    }

    /// Follows a fixed text, and goes on to `next` when it is whole. None: the character is still
    /// to be looked at.
    fn fixed(
        &mut self,
        character: char,
        text: &str,
        next: impl FnOnce(&Self) -> Phase,
    ) -> Option<Step> {
        if text.trim().is_empty() {
            (self.phase, self.seen) = (next(self), 0);
            return None;
        }
        match met(text, &mut self.seen, character) {
            Met::Part => Some(Step::Wait),
            Met::Whole => {
                (self.phase, self.seen) = (next(self), 0);
                Some(Step::Wait)
            }
            Met::Not => Some(Step::Fail),
        }
    }

    /// What follows the opener.
    fn first(&self) -> Phase {
        match self.syntax.count {
            Count::List => Phase::ListOpen,
            Count::One | Count::Many(_) => self.item(),
        }
    }

    /// How a call begins.
    fn item(&self) -> Phase {
        match self.syntax.item {
            Item::Named(_) => Phase::BeforeName,
            _ => Phase::ObjectOpen,
        }
    }

    /// What follows a call.
    fn next(&self) -> Phase {
        match self.syntax.count {
            Count::One => Phase::Closer,
            Count::List | Count::Many(_) => Phase::Between,
        }
    }

    fn name_step(&mut self, character: char) -> Step {
        self.header.push(character);
        let Some(named) = self.named() else { return Step::Fail };
        if self.header.len() > HEADER_MAX {
            return Step::Fail;
        }
        let text = if named.sign.is_empty() { named.before_arguments } else { named.sign };
        let ends = if text.trim().is_empty() { text } else { text.trim() };
        // White space may be missing before the arguments.
        let brace = text.trim().is_empty() && character == '{';
        if !self.header.ends_with(ends) && !brace {
            return Step::Wait;
        }
        let header = take(&mut self.header);
        let header = header.strip_suffix(ends).or(header.strip_suffix('{')).unwrap_or(&header);
        let begins = header.rfind(named.name_begins).filter(|_| !named.name_begins.is_empty());
        let header = &header[begins.map_or(0, |at| at + named.name_begins.len())..];
        let header = header.trim_start();
        let end = named.name_ends.iter().filter_map(|end| header.find(end)).min();
        let name = header[..end.unwrap_or(header.len())].trim_end();
        if named.text_name == Some(name) {
            self.held.clear();
            return Step::Done;
        }
        let known = self.syntax.bare != Bare::Prompt || self.knows(name);
        if !is_name(name) || !known {
            return Step::Fail;
        }
        self.name = Some(name.to_owned());
        self.phase = Phase::Arguments;
        if brace {
            self.held.pop();
            return self.begin_with_brace();
        }
        Step::Wait
    }

    /// The brace that ended a name opens the arguments.
    fn begin_with_brace(&mut self) -> Step {
        self.held.push('{');
        self.nest.step('{');
        self.kept = Some("{".to_owned());
        Step::Wait
    }

    fn arguments_step(&mut self, character: char, pieces: &mut Vec<Piece>) -> Option<Step> {
        let place = self.nest.step(character);
        match place {
            Place::Before => Some(Step::Wait),
            Place::Wrong => Some(Step::Fail),
            Place::Inside | Place::Last => {
                self.begin(pieces);
                if self.kept.is_none() && character == '"' {
                    self.kept = Some(String::new());
                }
                match &mut self.kept {
                    Some(kept) if kept.is_empty() || kept.starts_with('"') => kept.push(character),
                    _ => {
                        self.hand_on_kept(pieces);
                        argue(pieces, character.encode_utf8(&mut [0; 4]));
                    }
                }
                self.held.clear();
                if place == Place::Last {
                    self.end_arguments(pieces);
                }
                Some(Step::Wait)
            }
            Place::After => {
                self.end_arguments(pieces);
                None
            }
        }
    }

    /// Says that the call begins, once.
    fn begin(&mut self, pieces: &mut Vec<Piece>) {
        if let Some(name) = self.name.take() {
            pieces.push(Piece::CallBegun { name });
        }
    }

    /// Hands on arguments that were kept. JSON that came as a string is taken out of it.
    fn hand_on_kept(&mut self, pieces: &mut Vec<Piece>) {
        let Some(kept) = self.kept.take() else { return };
        let inner = serde_json::from_str::<String>(&kept).ok();
        let inner = inner.filter(|text| serde_json::from_str::<Value>(text).is_ok());
        argue(pieces, inner.as_deref().unwrap_or(&kept));
    }

    fn end_arguments(&mut self, pieces: &mut Vec<Piece>) {
        self.hand_on_kept(pieces);
        self.nest = Nest::default();
        self.phase = match self.syntax.item {
            Item::Named(_) => Phase::After,
            _ => Phase::CommaOrEnd,
        };
    }

    fn between_step(&mut self, character: char) -> Step {
        if character.is_whitespace() {
            return Step::Wait;
        }
        if self.syntax.count == Count::List {
            self.phase = match character {
                ',' => self.item(),
                ']' => Phase::Closer,
                _ => return Step::Fail,
            };
            let over = character == ']' && self.syntax.closer.is_empty();
            return if over { Step::Done } else { Step::Wait };
        }
        // The next call and what ends them may begin alike.
        self.header.push(character);
        let before = self.named().map_or("", |named| named.before_name);
        let begins = |text: &str| {
            let text: String = text.split_whitespace().collect();
            (text.starts_with(&*self.header), text == self.header)
        };
        let ((next, next_whole), (end, end_whole)) = (begins(before), begins(self.syntax.closer));
        if next_whole || end_whole {
            self.header.clear();
            self.phase = Phase::Name;
            return if end_whole { Step::Done } else { Step::Wait };
        }
        if next || end { Step::Wait } else { Step::Fail }
    }

    fn object_step(&mut self, character: char, pieces: &mut Vec<Piece>) -> Step {
        let space = character.is_whitespace();
        match (self.phase, character) {
            (Phase::Key(escape), _) => self.key_step(escape, character),
            _ if space => {}
            (Phase::ListOpen, '[') => self.phase = self.item(),
            (Phase::ObjectOpen, '{') | (Phase::CommaOrEnd, ',') => self.phase = Phase::KeyOrEnd,
            (Phase::KeyOrEnd, '"') => {
                self.header.clear();
                self.phase = Phase::Key(Escape::No);
            }
            (Phase::Colon, ':') => {
                let member = self.member();
                self.phase = Phase::Member(member);
                self.nest = Nest::default();
                self.begin_member(member);
            }
            (Phase::KeyOrEnd | Phase::CommaOrEnd, '}') => {
                return self.end_object(pieces);
            }
            _ => return Step::Fail,
        }
        if self.header.len() > HEADER_MAX { Step::Fail } else { Step::Wait }
    }

    fn key_step(&mut self, escape: Escape, character: char) {
        self.phase = match (escape, character) {
            (Escape::No, '"') => Phase::Colon,
            (Escape::No, '\\') => Phase::Key(Escape::Yes),
            _ => Phase::Key(Escape::No),
        };
        if self.phase != Phase::Colon {
            self.header.push(character);
        }
    }

    /// What the member with the last key is for.
    fn member(&self) -> Member {
        let key = &*self.header;
        match &self.syntax.item {
            Item::Keyed => Member::Arguments,
            Item::Object(Object { name, arguments, .. }) => {
                if key == *name {
                    Member::Name
                } else if key == *arguments || key == "arguments" || key == "parameters" {
                    Member::Arguments
                } else {
                    Member::Other
                }
            }
            _ => Member::Other,
        }
    }

    fn begin_member(&mut self, member: Member) {
        if self.syntax.item == Item::Keyed && is_name(&self.header) {
            self.name = Some(take(&mut self.header));
        }
        match member {
            Member::Arguments if self.name.is_some() => self.phase = Phase::Arguments,
            Member::Arguments => self.kept = Some(String::new()),
            Member::Name | Member::Other => {}
        }
        self.header.clear();
    }

    fn member_step(
        &mut self,
        member: Member,
        character: char,
        pieces: &mut Vec<Piece>,
    ) -> Option<Step> {
        let place = self.nest.step(character);
        if matches!(place, Place::Inside | Place::Last) {
            match member {
                Member::Name => self.header.push(character),
                Member::Arguments => self.kept.get_or_insert_default().push(character),
                Member::Other => {}
            }
        }
        if place == Place::Wrong || self.header.len() > HEADER_MAX {
            return Some(Step::Fail);
        }
        if matches!(place, Place::Last | Place::After) {
            self.phase = Phase::CommaOrEnd;
            if member == Member::Name && !self.take_name(pieces) {
                return Some(Step::Fail);
            }
        }
        (place != Place::After).then_some(Step::Wait)
    }

    /// The name is there; arguments that came before it can be handed on. Returns whether it is
    /// one.
    fn take_name(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let name = serde_json::from_str::<String>(&take(&mut self.header)).unwrap_or_default();
        let known = self.syntax.bare != Bare::WholeAnswer || self.knows(&name);
        if !is_name(&name) || !known {
            return false;
        }
        self.name = Some(name);
        if self.kept.is_some() {
            self.begin(pieces);
            self.hand_on_kept(pieces);
            self.held.clear();
        }
        true
    }

    /// The object of a call has ended; one without arguments has none.
    fn end_object(&mut self, pieces: &mut Vec<Piece>) -> Step {
        if self.name.is_some() {
            self.begin(pieces);
            argue(pieces, "{}");
            self.held.clear();
        } else if !self.held_is_spent() {
            return Step::Fail;
        }
        self.kept = None;
        self.phase = self.next();
        let over = self.phase == Phase::Closer && self.syntax.closer.is_empty();
        if over { Step::Done } else { Step::Wait }
    }

    /// Whether the call of this object was handed on: then an opening brace is no longer held.
    fn held_is_spent(&self) -> bool {
        !self.held.contains('{')
    }

    fn knows(&self, name: &str) -> bool {
        self.tools.iter().any(|tool| tool.name == name)
    }
}

/// Follows a fixed text without its white space; `seen` counts its bytes.
fn met(text: &str, seen: &mut usize, character: char) -> Met {
    let mut left = text[*seen..].trim_start().chars();
    if character.is_whitespace() {
        return if left.as_str().is_empty() { Met::Not } else { Met::Part };
    }
    if left.next() != Some(character) {
        return Met::Not;
    }
    *seen = text.len() - left.as_str().len();
    if left.as_str().trim().is_empty() { Met::Whole } else { Met::Part }
}

/// Whether a tool may be called so.
pub(super) fn is_name(name: &str) -> bool {
    let allowed = |character: char| character.is_alphanumeric() || "_-.:/".contains(character);
    !name.is_empty() && name.len() <= 256 && name.chars().all(allowed)
}
