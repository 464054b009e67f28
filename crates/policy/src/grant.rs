//! A grant: the proof that a call was decided, without which no tool runs.

use crate::decide::{Call, Decision, Verdict};
use crate::label::{Label, Party};

/// Says that one call may be done, once. Only a decision makes one.
#[derive(Debug, PartialEq, Eq)]
pub struct Grant {
    tool: String,
    label: Label,
    approved_by: Option<Party>,
}

impl Grant {
    /// The tool that may be called.
    pub fn tool(&self) -> &str {
        &self.tool
    }

    /// The label of what the call carries and leaves behind.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// The person who approved it, where one was asked.
    pub fn approved_by(&self) -> Option<&Party> {
        self.approved_by.as_ref()
    }
}

impl Decision {
    /// The grant of a call that is allowed.
    pub fn grant(&self, call: &Call<'_>) -> Option<Grant> {
        self.granted(call, Verdict::Allow, None)
    }

    /// The grant of a call that a person was asked about and approved. What is denied nobody can
    /// approve.
    pub fn approved(&self, call: &Call<'_>, by: &Party) -> Option<Grant> {
        self.granted(call, Verdict::Ask, Some(by.clone()))
    }

    fn granted(&self, call: &Call<'_>, verdict: Verdict, by: Option<Party>) -> Option<Grant> {
        (self.verdict == verdict && self.tool == call.tool.name).then(|| Grant {
            tool: self.tool.clone(),
            label: self.label.clone(),
            approved_by: by,
        })
    }
}
