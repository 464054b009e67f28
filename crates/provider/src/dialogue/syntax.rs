//! What a syntax of tool calls consists of. The families of them are data (`families/`); the reader
//! and the grammars both go by it.
//!
//! Texts here are as the templates write them. The reader passes over white space in them and in
//! the answer, because models vary it.

/// How calls are written.
#[derive(Debug, PartialEq)]
pub(crate) struct Syntax {
    /// What it is called here.
    pub(crate) name: &'static str,
    /// Template sources that contain every text of one of these groups use it.
    pub(crate) signs: &'static [&'static [&'static str]],
    /// Opens a call, or a list of them.
    pub(crate) opener: &'static str,
    /// What follows the opener.
    pub(crate) lead: &'static str,
    /// How many calls follow one opener.
    pub(crate) count: Count,
    /// One call.
    pub(crate) item: Item,
    /// Ends what the opener has opened; empty where nothing does.
    pub(crate) closer: &'static str,
    /// Where a call may do without the opener.
    pub(crate) bare: Bare,
}

impl Syntax {
    /// All texts that a call is written with.
    pub(crate) fn texts(&self) -> Vec<&'static str> {
        let mut texts = vec![self.opener, self.lead, self.closer];
        if let Count::Many(between) = self.count {
            texts.push(between);
        }
        match &self.item {
            Item::Named(it) => {
                texts.extend([it.before_name, it.before_arguments, it.sign]);
                texts.extend([it.name_begins, it.after]);
                texts.extend(it.name_ends);
            }
            Item::Tagged(it) => {
                texts.extend([it.before_name, it.after_name, it.before_key, it.before_value]);
                texts.extend([it.before_text, it.after_value, it.after]);
            }
            Item::Object(_) | Item::Keyed | Item::Python => {}
        }
        texts
    }
}

/// How many calls follow one opener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// One; the next has its own opener.
    One,
    /// A JSON list of them.
    List,
    /// One or more, with this between them.
    Many(&'static str),
}

/// Where a call may do without its opener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bare {
    /// Nowhere.
    Never,
    /// An answer may consist of the call.
    WholeAnswer,
    /// The prompt ends with the opener.
    Prompt,
}

/// One call.
#[derive(Debug, PartialEq)]
pub(crate) enum Item {
    /// A JSON object with the name and the arguments as members.
    Object(Object),
    /// A JSON object whose only member is named after the tool: `{"name": {arguments}}`.
    Keyed,
    /// The name and the JSON arguments between fixed texts.
    Named(Named),
    /// The name, and each argument between tags of its own.
    Tagged(Tagged),
    /// Python's calls: `[name(argument=value, ...), ...]`.
    Python,
}

/// A JSON object with the name and the arguments as members.
#[derive(Debug, PartialEq)]
pub(crate) struct Object {
    /// The member with the name.
    pub(crate) name: &'static str,
    /// The member with the arguments.
    pub(crate) arguments: &'static str,
    /// A member with a number as text, which models write first.
    pub(crate) number: Option<&'static str>,
}

/// The name and the JSON arguments between fixed texts.
#[derive(Debug, PartialEq)]
pub(crate) struct Named {
    /// Before the name.
    pub(crate) before_name: &'static str,
    /// Between the name and the arguments.
    pub(crate) before_arguments: &'static str,
    /// The part of it that ends the name for a reader; the whole if this is empty.
    pub(crate) sign: &'static str,
    /// Where the name ends if that comes earlier: what lies between says nothing about the call.
    pub(crate) name_ends: &'static [&'static str],
    /// What may stand before the name, beside `before_name`; what precedes it is no part of it.
    pub(crate) name_begins: &'static str,
    /// After the arguments.
    pub(crate) after: &'static str,
    /// A name that means: this is text.
    pub(crate) text_name: Option<&'static str>,
}

/// The name, and each argument between tags of its own.
#[derive(Debug, PartialEq)]
pub(crate) struct Tagged {
    /// Before the name.
    pub(crate) before_name: &'static str,
    /// After the name.
    pub(crate) after_name: &'static str,
    /// Before an argument's name.
    pub(crate) before_key: &'static str,
    /// Between an argument's name and its value.
    pub(crate) before_value: &'static str,
    /// The same where the value is text, if that is told apart.
    pub(crate) before_text: &'static str,
    /// After the value.
    pub(crate) after_value: &'static str,
    /// After the last argument.
    pub(crate) after: &'static str,
}

/// Where reasoning stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    /// Opens it.
    pub(crate) opener: &'static str,
    /// Closes it.
    pub(crate) closer: &'static str,
}
