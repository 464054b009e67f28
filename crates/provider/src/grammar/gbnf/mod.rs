//! GBNF, llama.cpp's notation of grammars, written in Lark. Source of the notation: llama.cpp's
//! `grammars/README.md`.
//!
//! What recurs becomes rules, everything else terminals. Departures: (1) terminals that stand next
//! to something recurring take the longest match, where llama.cpp would try all; (2) tokens
//! (`<[1]>`) are not taken; (3) left recursion is refused with its place, as there.

mod emit;
mod read;

use super::{lark, refused};
use crate::ProviderError;

/// A grammar: its rules, the first to be used being `root`.
#[derive(Debug)]
struct Grammar {
    rules: Vec<Rule>,
    root: usize,
}

#[derive(Debug)]
struct Rule {
    name: String,
    place: Place,
    body: Node,
}

/// A line and a column, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    line: usize,
    column: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Text(String),
    /// Characters in these ranges, or those that are not.
    Class(Inside, Vec<(char, char)>),
    Any,
    Rule(usize),
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
    /// At least, and at most unless there is no bound.
    Repeat(Box<Node>, u32, Option<u32>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    Yes,
    No,
}

/// The same grammar in Lark.
///
/// # Errors
/// `Grammar` with line and column.
pub(super) fn to_lark(text: &str) -> Result<String, ProviderError> {
    let grammar = read::grammar(lark::bounded(text)?)?;
    let nullable = grammar.nullable();
    grammar.refuse_left_recursion(&nullable)?;
    Ok(emit::lark(&grammar, &nullable))
}

fn at(place: Place, reason: &str) -> ProviderError {
    refused(&format!("line {}, column {}: {reason}", place.line, place.column))
}

impl Grammar {
    /// Which rules accept nothing at all, as a text of no characters.
    fn nullable(&self) -> Vec<bool> {
        let mut nullable = vec![false; self.rules.len()];
        loop {
            let mut changed = false;
            for (index, rule) in self.rules.iter().enumerate() {
                if !nullable[index] && rule.body.is_nullable(&nullable) {
                    nullable[index] = true;
                    changed = true;
                }
            }
            if !changed {
                return nullable;
            }
        }
    }

    /// A rule must not begin with itself.
    fn refuse_left_recursion(&self, nullable: &[bool]) -> Result<(), ProviderError> {
        let first: Vec<Vec<usize>> = self
            .rules
            .iter()
            .map(|rule| {
                let mut first = Vec::new();
                rule.body.first(nullable, &mut first);
                first
            })
            .collect();
        match cycle(&first) {
            Some(rule) => {
                let Rule { name, place, .. } = &self.rules[rule];
                Err(at(*place, &format!("the rule `{name}` begins with itself (left recursion)")))
            }
            None => Ok(()),
        }
    }

    /// Which rules lead to one that leads back to itself.
    fn recurring(&self) -> Vec<bool> {
        let used: Vec<Vec<usize>> = self
            .rules
            .iter()
            .map(|rule| {
                let mut used = Vec::new();
                rule.body.rules(&mut used);
                used.sort_unstable();
                used.dedup();
                used
            })
            .collect();
        // What is left after everything that only uses settled rules is settled.
        let mut settled = vec![false; self.rules.len()];
        let mut users = vec![Vec::new(); self.rules.len()];
        let mut waiting: Vec<usize> = used.iter().map(Vec::len).collect();
        for (user, used) in used.iter().enumerate() {
            for &rule in used {
                users[rule].push(user);
            }
        }
        let mut ready: Vec<usize> =
            (0..self.rules.len()).filter(|&rule| waiting[rule] == 0).collect();
        while let Some(rule) = ready.pop() {
            settled[rule] = true;
            for &user in &users[rule] {
                waiting[user] -= 1;
                if waiting[user] == 0 {
                    ready.push(user);
                }
            }
        }
        settled.into_iter().map(|settled| !settled).collect()
    }
}

/// A node of a graph that leads back to itself.
fn cycle(edges: &[Vec<usize>]) -> Option<usize> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut states = vec![State::New; edges.len()];
    for start in 0..edges.len() {
        let mut path = vec![(start, 0)];
        while let Some((node, next)) = path.last_mut() {
            if *next == 0 {
                if states[*node] == State::Done {
                    path.pop();
                    continue;
                }
                states[*node] = State::Open;
            }
            if let Some(&to) = edges[*node].get(*next) {
                *next += 1;
                match states[to] {
                    State::Open => return Some(to),
                    State::New => path.push((to, 0)),
                    State::Done => {}
                }
            } else {
                states[*node] = State::Done;
                path.pop();
            }
        }
    }
    None
}

impl Node {
    fn is_nullable(&self, rules: &[bool]) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Class(..) | Self::Any => false,
            Self::Rule(rule) => rules[*rule],
            Self::Sequence(parts) => parts.iter().all(|part| part.is_nullable(rules)),
            Self::Choice(parts) => parts.iter().any(|part| part.is_nullable(rules)),
            Self::Repeat(node, least, most) => {
                *least == 0 || *most == Some(0) || node.is_nullable(rules)
            }
        }
    }

    /// The rules that it may begin with.
    fn first(&self, nullable: &[bool], first: &mut Vec<usize>) {
        match self {
            Self::Text(_) | Self::Class(..) | Self::Any => {}
            Self::Rule(rule) => first.push(*rule),
            Self::Choice(parts) => parts.iter().for_each(|part| part.first(nullable, first)),
            Self::Repeat(node, ..) => node.first(nullable, first),
            Self::Sequence(parts) => {
                for part in parts {
                    part.first(nullable, first);
                    if !part.is_nullable(nullable) {
                        break;
                    }
                }
            }
        }
    }

    /// The rules that it uses.
    fn rules(&self, rules: &mut Vec<usize>) {
        match self {
            Self::Text(_) | Self::Class(..) | Self::Any => {}
            Self::Rule(rule) => rules.push(*rule),
            Self::Sequence(parts) | Self::Choice(parts) => {
                for part in parts {
                    part.rules(rules);
                }
            }
            Self::Repeat(node, ..) => node.rules(rules),
        }
    }
}
