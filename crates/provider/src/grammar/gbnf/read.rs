//! Reads GBNF.

use std::collections::HashMap;

use super::{Grammar, Inside, Node, Place, Rule, at};
use crate::ProviderError;
use crate::grammar::refused;

/// Groups that may stand in each other.
const DEPTH_MAX: usize = 100;

/// Repetitions that can be asked for.
const REPEAT_MAX: u32 = 10_000;

/// Repetitions of one repetition.
const SUFFIXES_MAX: usize = 8;

/// The rules of a grammar.
pub(super) fn grammar(text: &str) -> Result<Grammar, ProviderError> {
    let mut reader = Reader {
        rest: text,
        place: Place { line: 1, column: 1 },
        names: HashMap::new(),
        uses: Vec::new(),
    };
    let mut rules: Vec<Option<Rule>> = Vec::new();
    reader.space(Lines::Many);
    while !reader.rest.is_empty() {
        let place = reader.place;
        let name = reader.name()?;
        reader.space(Lines::One);
        if !reader.take("::=") {
            return Err(reader.expected("`::=` after the name of a rule"));
        }
        reader.space(Lines::Many);
        let body = reader.choice(0)?;
        if !reader.rest.is_empty() && reader.peek() != Some('\n') {
            return Err(reader.expected("the end of the line, or `|`"));
        }
        reader.space(Lines::Many);
        let index = reader.index(&name);
        rules.resize_with(reader.names.len(), || None);
        if rules[index].is_some() {
            return Err(at(place, &format!("the rule `{name}` is there already")));
        }
        rules[index] = Some(Rule { name, place, body });
    }
    rules.resize_with(reader.names.len(), || None);
    let undefined = reader.uses.iter().find(|(rule, _)| rules[*rule].is_none());
    if let Some(&(rule, place)) = undefined {
        let name = reader.names.iter().find(|(_, index)| **index == rule);
        let name = name.map_or("", |(name, _)| name);
        return Err(at(place, &format!("there is no rule `{name}`")));
    }
    let Some(&root) = reader.names.get("root") else {
        return Err(refused("the grammar has no rule `root`, with which answers begin"));
    };
    Ok(Grammar { rules: rules.into_iter().flatten().collect(), root })
}

/// Whether white space may contain the end of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    One,
    Many,
}

struct Reader<'a> {
    rest: &'a str,
    place: Place,
    names: HashMap<String, usize>,
    uses: Vec<(usize, Place)>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        // A line may end as on Windows.
        let rest = self.rest.strip_prefix('\r').filter(|rest| rest.starts_with('\n'));
        rest.unwrap_or(self.rest).chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.rest.chars().next()?;
        self.rest = &self.rest[character.len_utf8()..];
        if character == '\n' {
            self.place = Place { line: self.place.line + 1, column: 1 };
        } else {
            self.place.column += 1;
        }
        Some(character)
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.rest.starts_with(text);
        if found {
            for _ in text.chars() {
                self.next();
            }
        }
        found
    }

    fn expected(&self, what: &str) -> ProviderError {
        let found = match self.rest.chars().next() {
            None => "the end".to_owned(),
            Some('\n') => "the end of the line".to_owned(),
            Some(character) => format!("`{character}`"),
        };
        at(self.place, &format!("expected {what}, found {found}"))
    }

    fn space(&mut self, lines: Lines) {
        while let Some(character) = self.rest.chars().next() {
            match character {
                ' ' | '\t' => {}
                '\r' | '\n' if lines == Lines::Many => {}
                '#' => {
                    while self.rest.chars().next().is_some_and(|character| character != '\n') {
                        self.next();
                    }
                    continue;
                }
                _ => break,
            }
            self.next();
        }
    }

    fn name(&mut self) -> Result<String, ProviderError> {
        let ends =
            |character: char| !(character.is_ascii_alphanumeric() || "-_".contains(character));
        let length = self.rest.find(ends).unwrap_or(self.rest.len());
        if length == 0 {
            return Err(self.expected("the name of a rule"));
        }
        let name = self.rest[..length].to_owned();
        self.take(&name);
        Ok(name)
    }

    fn index(&mut self, name: &str) -> usize {
        let next = self.names.len();
        *self.names.entry(name.to_owned()).or_insert(next)
    }

    fn choice(&mut self, depth: usize) -> Result<Node, ProviderError> {
        let mut options = vec![self.sequence(depth)?];
        while self.take("|") {
            self.space(Lines::Many);
            options.push(self.sequence(depth)?);
        }
        Ok(if options.len() == 1 { options.remove(0) } else { Node::Choice(options) })
    }

    fn sequence(&mut self, depth: usize) -> Result<Node, ProviderError> {
        if depth > DEPTH_MAX {
            return Err(at(self.place, &format!("groups are nested deeper than {DEPTH_MAX}")));
        }
        let lines = if depth == 0 { Lines::One } else { Lines::Many };
        let mut parts = Vec::new();
        while let Some(character) = self.peek() {
            let place = self.place;
            let node = match character {
                '"' => self.text()?,
                '[' => self.class()?,
                '.' => {
                    self.next();
                    Node::Any
                }
                '(' => {
                    self.next();
                    self.space(Lines::Many);
                    let inner = self.choice(depth + 1)?;
                    if !self.take(")") {
                        return Err(self.expected("`)`"));
                    }
                    inner
                }
                '<' | '!' => return Err(at(place, "tokens are not taken, only text")),
                _ if character.is_ascii_alphanumeric() || character == '_' || character == '-' => {
                    let name = self.name()?;
                    let rule = self.index(&name);
                    self.uses.push((rule, place));
                    Node::Rule(rule)
                }
                _ => break,
            };
            self.space(lines);
            parts.push(self.repeated(node, lines)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Node::Sequence(parts) })
    }

    /// A node with what is written behind it about repetition.
    fn repeated(&mut self, mut node: Node, lines: Lines) -> Result<Node, ProviderError> {
        for _ in 0..SUFFIXES_MAX {
            let (least, most) = match self.peek() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => {
                    let bounds = self.bounds()?;
                    self.space(lines);
                    node = Node::Repeat(Box::new(node), bounds.0, bounds.1);
                    continue;
                }
                _ => return Ok(node),
            };
            self.next();
            self.space(lines);
            node = Node::Repeat(Box::new(node), least, most);
        }
        Err(at(self.place, "too many repetitions of repetitions"))
    }

    fn bounds(&mut self) -> Result<(u32, Option<u32>), ProviderError> {
        let place = self.place;
        self.next();
        self.space(Lines::One);
        let least = self.number()?;
        self.space(Lines::One);
        let mut most = least;
        if self.take(",") {
            self.space(Lines::One);
            most = self.number()?;
            self.space(Lines::One);
        } else if least.is_none() {
            return Err(self.expected("a number"));
        }
        if !self.take("}") {
            return Err(self.expected("`}`"));
        }
        let least = least.unwrap_or(0);
        if most.is_some_and(|most| most < least) {
            return Err(at(place, "the repetition ends before it begins"));
        }
        if least.max(most.unwrap_or(0)) > REPEAT_MAX {
            return Err(at(place, &format!("more than {REPEAT_MAX} repetitions are asked for")));
        }
        Ok((least, most))
    }

    fn number(&mut self) -> Result<Option<u32>, ProviderError> {
        let length = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        if length == 0 {
            return Ok(None);
        }
        let digits = self.rest[..length].to_owned();
        let number = digits.parse().map_err(|_| at(self.place, "the number is too large"))?;
        self.take(&digits);
        Ok(Some(number))
    }

    fn text(&mut self) -> Result<Node, ProviderError> {
        let place = self.place;
        self.next();
        let mut text = String::new();
        while !self.take("\"") {
            match self.peek() {
                None | Some('\n') => return Err(at(place, "the text is not closed by `\"`")),
                Some(_) => text.push(self.character()?),
            }
        }
        Ok(Node::Text(text))
    }

    fn class(&mut self) -> Result<Node, ProviderError> {
        let place = self.place;
        self.next();
        let inside = if self.take("^") { Inside::No } else { Inside::Yes };
        let mut ranges = Vec::new();
        while !self.take("]") {
            if matches!(self.peek(), None | Some('\n')) {
                return Err(at(place, "the class is not closed by `]`"));
            }
            let first = self.character()?;
            let mut last = first;
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.next();
                last = self.character()?;
            }
            if last < first {
                return Err(at(place, "a range of characters ends before it begins"));
            }
            ranges.push((first, last));
        }
        match (inside, ranges.is_empty()) {
            (Inside::Yes, true) => Err(at(place, "the class is empty: no character is in it")),
            (Inside::No, true) => Ok(Node::Any),
            (_, false) => Ok(Node::Class(inside, ranges)),
        }
    }

    /// One character, perhaps escaped.
    fn character(&mut self) -> Result<char, ProviderError> {
        let place = self.place;
        let Some(character) = self.next() else { return Err(self.expected("a character")) };
        if character != '\\' {
            return Ok(character);
        }
        let digits = match self.next() {
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            Some('t') => return Ok('\t'),
            Some('r') => return Ok('\r'),
            Some('n') => return Ok('\n'),
            Some(escaped @ ('\\' | '"' | '[' | ']' | '-' | '^')) => return Ok(escaped),
            _ => return Err(at(place, "this escape is not known")),
        };
        let mut number = 0;
        for _ in 0..digits {
            let digit = self.peek().and_then(|character| character.to_digit(16));
            let Some(digit) = digit else { return Err(self.expected("a hexadecimal digit")) };
            number = number << 4 | digit;
            self.next();
        }
        char::from_u32(number).ok_or_else(|| at(place, "there is no character of this number"))
    }
}
