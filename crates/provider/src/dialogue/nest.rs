//! Where a JSON value ends, found while it comes in.
//!
//! Invariant: brackets and strings are counted, nothing else is checked. A value that is malformed
//! inside still ends where its brackets close.

/// A JSON value on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Nest {
    depth: usize,
    kind: Kind,
    string: InString,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Unknown,
    Container,
    String,
    Scalar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum InString {
    #[default]
    Outside,
    Inside,
    /// After a backslash.
    Escaped,
}

/// What a character means to the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// White space before it.
    Before,
    /// A part of it.
    Inside,
    /// Its last character.
    Last,
    /// The first character after it.
    After,
    /// No value begins so.
    Wrong,
}

impl Nest {
    /// Takes in the next character.
    pub(super) fn step(&mut self, character: char) -> Place {
        match self.kind {
            Kind::Unknown => self.begin(character),
            Kind::Scalar => {
                let inside = character.is_ascii_alphanumeric() || "+-.".contains(character);
                if inside { Place::Inside } else { Place::After }
            }
            Kind::Container | Kind::String => self.inside(character),
        }
    }

    fn begin(&mut self, character: char) -> Place {
        self.kind = match character {
            ' ' | '\t' | '\n' | '\r' => return Place::Before,
            '{' | '[' => {
                self.depth = 1;
                Kind::Container
            }
            '"' => {
                self.string = InString::Inside;
                Kind::String
            }
            '-' | '0'..='9' | 't' | 'f' | 'n' => Kind::Scalar,
            _ => return Place::Wrong,
        };
        Place::Inside
    }

    fn inside(&mut self, character: char) -> Place {
        match (self.string, character) {
            (InString::Inside, '\\') => self.string = InString::Escaped,
            (InString::Inside, '"') => {
                self.string = InString::Outside;
                if self.kind == Kind::String {
                    return Place::Last;
                }
            }
            (InString::Escaped, _) | (InString::Outside, '"') => self.string = InString::Inside,
            (InString::Outside, '{' | '[') => self.depth += 1,
            (InString::Outside, '}' | ']') => {
                self.depth -= 1;
                if self.depth == 0 {
                    return Place::Last;
                }
            }
            (InString::Inside | InString::Outside, _) => {}
        }
        Place::Inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_where_they_close() {
        let check = |text: &str, value: &str| {
            let mut nest = Nest::default();
            let mut found = String::new();
            for character in text.chars() {
                match nest.step(character) {
                    Place::Before => {}
                    Place::Inside => found.push(character),
                    Place::Last => {
                        found.push(character);
                        break;
                    }
                    Place::After | Place::Wrong => break,
                }
            }
            assert_eq!(found, value, "{text}");
        };
        check(" {\"a\": \"}\\\"\", \"b\": [1, {}]} x", "{\"a\": \"}\\\"\", \"b\": [1, {}]}");
        check("[[]]]", "[[]]");
        check("\"a\\\\\"b", "\"a\\\\\"");
        check("-1.5e+3, 2", "-1.5e+3");
        check("null}", "null");
        check("x", "");
    }
}
