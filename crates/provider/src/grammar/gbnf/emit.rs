//! Writes a grammar in Lark. What does not recur is written as terminals, in runs as long as
//! possible, so that what a parser sees begins and ends where something recurs.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::super::lark::quoted;
use super::{Grammar, Inside, Node};

/// The grammar's rules in Lark.
pub(super) fn lark(grammar: &Grammar, nullable: &[bool]) -> String {
    let recurring = grammar.recurring();
    let mut writer =
        Writer { grammar, nullable, recurring, text: String::new(), terminals: HashMap::new() };
    let start = writer.rule(&Node::Rule(grammar.root));
    for (index, rule) in grammar.rules.iter().enumerate() {
        if writer.recurring[index] {
            let body = writer.rule(&rule.body);
            let _ = writeln!(writer.text, "r_{index}: {body}");
        } else {
            let body = terminal(&rule.body);
            let _ = writeln!(writer.text, "T_{index}: {body}");
        }
    }
    format!("start: {start}\n{}", writer.text)
}

struct Writer<'a> {
    grammar: &'a Grammar,
    nullable: &'a [bool],
    recurring: Vec<bool>,
    text: String,
    /// Terminals for runs, by what is in them.
    terminals: HashMap<String, usize>,
}

impl Writer<'_> {
    fn recurs(&self, node: &Node) -> bool {
        let mut rules = Vec::new();
        node.rules(&mut rules);
        rules.into_iter().any(|rule| self.recurring[rule])
    }

    /// A part of a rule.
    fn rule(&mut self, node: &Node) -> String {
        if !self.recurs(node) {
            return self.run(std::slice::from_ref(node));
        }
        match node {
            Node::Rule(rule) => format!("r_{rule}"),
            Node::Choice(parts) => {
                let parts: Vec<_> = parts.iter().map(|part| self.rule(part)).collect();
                format!("({})", parts.join(" | "))
            }
            Node::Repeat(node, least, most) => {
                let inner = self.rule(node);
                format!("({inner}){}", repetition(*least, *most))
            }
            Node::Sequence(parts) => {
                let mut written = Vec::new();
                let mut from = 0;
                while from < parts.len() {
                    let run = parts[from..].iter().take_while(|part| !self.recurs(part)).count();
                    if run == 0 {
                        written.push(self.rule(&parts[from]));
                        from += 1;
                    } else {
                        written.push(self.run(&parts[from..from + run]));
                        from += run;
                    }
                }
                format!("({})", written.join(" "))
            }
            Node::Text(_) | Node::Class(..) | Node::Any => String::new(),
        }
    }

    /// Parts that do not recur, as one terminal.
    fn run(&mut self, parts: &[Node]) -> String {
        let nullable = parts.iter().all(|part| part.is_nullable(self.nullable));
        let body: Vec<_> = parts.iter().map(terminal).collect();
        let body = body.join(" ");
        let next = self.grammar.rules.len() + self.terminals.len();
        let known = self.terminals.len();
        let index = *self.terminals.entry(body.clone()).or_insert(next);
        if self.terminals.len() > known {
            // A terminal must not be empty; whether it is there at all is the rule's affair.
            let body = if nullable { format!("({body}) & /(?s:.+)/") } else { body };
            let _ = writeln!(self.text, "T_{index}: {body}");
        }
        if nullable { format!("T_{index}?") } else { format!("T_{index}") }
    }
}

/// A part of a terminal.
fn terminal(node: &Node) -> String {
    match node {
        Node::Text(text) => quoted(text),
        Node::Any => "/(?s:.)/".to_owned(),
        Node::Class(inside, ranges) => {
            let mut class = String::from(if *inside == Inside::Yes { "/[" } else { "/[^" });
            for (first, last) in ranges {
                let (first, last) = (u32::from(*first), u32::from(*last));
                let _ = write!(class, "\\x{{{first:x}}}-\\x{{{last:x}}}");
            }
            class + "]/"
        }
        Node::Rule(rule) => format!("T_{rule}"),
        Node::Sequence(parts) if parts.is_empty() => "\"\"".to_owned(),
        Node::Sequence(parts) => {
            let parts: Vec<_> = parts.iter().map(terminal).collect();
            format!("({})", parts.join(" "))
        }
        Node::Choice(parts) => {
            let parts: Vec<_> = parts.iter().map(terminal).collect();
            format!("({})", parts.join(" | "))
        }
        Node::Repeat(_, _, Some(0)) => "\"\"".to_owned(),
        Node::Repeat(node, least, most) => {
            format!("({}){}", terminal(node), repetition(*least, *most))
        }
    }
}

fn repetition(least: u32, most: Option<u32>) -> String {
    match (least, most) {
        (0, None) => "*".to_owned(),
        (1, None) => "+".to_owned(),
        (0, Some(1)) => "?".to_owned(),
        (_, None) => format!("{{{least},}}"),
        (_, Some(most)) => format!("{{{least},{most}}}"),
    }
}
