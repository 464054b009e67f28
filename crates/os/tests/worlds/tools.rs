//! Tools of the worlds: each gives a text or does something outside, which is written down.

use std::sync::{Arc, Mutex};

use serde_json::json;

use lucid_policy::{ArgumentSpec, Effect, Role, SourceKind};
use lucid_tools::{Arguments, Grant, Outcome, Setting, Tool, ToolCard, ToolError};

/// Something that happened outside.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Done {
    pub(crate) tool: String,
    pub(crate) arguments: Arguments,
}

/// What happened outside in a run.
pub(crate) type Doings = Arc<Mutex<Vec<Done>>>;

/// What stands in a place, and whose word it is.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) key: &'static str,
    pub(crate) kind: SourceKind,
    pub(crate) source: &'static str,
    pub(crate) words: String,
}

/// A tool that reads texts by their keys.
pub(crate) struct Reads {
    card: ToolCard,
    texts: Vec<Text>,
}

/// A tool that does something outside.
pub(crate) struct Does {
    card: ToolCard,
    doings: Doings,
}

fn card(name: &str, effect: Effect, arguments: &[(&str, Role)], source: SourceKind) -> ToolCard {
    let arguments = arguments.iter().map(|(name, role)| ArgumentSpec {
        name: (*name).to_owned(),
        role: *role,
        optional: false,
    });
    ToolCard {
        policy: lucid_policy::Tool {
            name: name.to_owned(),
            effect,
            arguments: arguments.collect(),
        },
        description: name.to_owned(),
        parameters: json!({"type": "object"}),
        source,
    }
}

impl Reads {
    pub(crate) fn tool(name: &str, texts: Vec<Text>) -> Arc<dyn Tool> {
        let card = card(name, Effect::Read, &[("key", Role::Content)], SourceKind::ToolOutput);
        Arc::new(Self { card, texts })
    }
}

impl Does {
    pub(crate) fn tool(name: &str, arguments: &[(&str, Role)], doings: &Doings) -> Arc<dyn Tool> {
        let card = card(name, Effect::Outside, arguments, SourceKind::Computed);
        Arc::new(Self { card, doings: doings.clone() })
    }
}

impl Tool for Reads {
    fn card(&self) -> &ToolCard {
        &self.card
    }

    fn call(
        &self,
        _grant: Grant,
        arguments: &Arguments,
        _setting: &Setting<'_>,
    ) -> Result<Outcome, ToolError> {
        let key = ToolError::text(arguments, "key")?;
        let found = self.texts.iter().find(|text| text.key == key);
        let found = found.ok_or_else(|| ToolError::failed(format!("there is no {key}")))?;
        let source = Some((found.kind, found.source.to_owned()));
        Ok(Outcome { text: found.words.clone(), source })
    }
}

impl Tool for Does {
    fn card(&self) -> &ToolCard {
        &self.card
    }

    fn call(
        &self,
        grant: Grant,
        arguments: &Arguments,
        _setting: &Setting<'_>,
    ) -> Result<Outcome, ToolError> {
        let tool = grant.tool().to_owned();
        self.doings.lock().unwrap().push(Done { tool, arguments: arguments.clone() });
        Ok(Outcome::text("done"))
    }
}
