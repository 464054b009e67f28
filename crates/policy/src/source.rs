//! Which label a text has by where it comes from: one table.

use serde::{Deserialize, Serialize};

use crate::label::{Integrity, Label, Limits, Party, Readers, SourceName};

/// A kind of place that texts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// Policy, instructions of an application, what the system itself says.
    System,
    /// What a person typed.
    Person,
    /// A file that a person made or put into an application's folder.
    OwnFile,
    /// An entry of a person's address book.
    Contact,
    /// A person's own calendar entry, account or other record, in the fields that they filled in.
    OwnRecord,
    /// Time, and what is computed of nothing but arguments.
    Computed,
    /// A file that came from elsewhere: downloaded, attached, cloned.
    ForeignFile,
    /// A message that somebody sent.
    Mail,
    /// A page of the web.
    Web,
    /// What a program or a tool of which nothing else is known printed.
    ToolOutput,
    /// What a model far away wrote.
    RemoteModel,
}

impl SourceKind {
    /// All of them.
    pub const ALL: [SourceKind; 11] = [
        SourceKind::System,
        SourceKind::Person,
        SourceKind::OwnFile,
        SourceKind::Contact,
        SourceKind::OwnRecord,
        SourceKind::Computed,
        SourceKind::ForeignFile,
        SourceKind::Mail,
        SourceKind::Web,
        SourceKind::ToolOutput,
        SourceKind::RemoteModel,
    ];
}

/// The label of a text of this kind in the hands of `owner`. What a process writes has the label of
/// the process, and what it stored comes back with the label that it was stored with; neither is
/// here.
pub fn default_label(kind: SourceKind, name: SourceName, owner: &Party) -> Label {
    let own = || Readers::only(owner);
    let (integrity, readers) = match kind {
        SourceKind::System | SourceKind::Computed => (Integrity::System, Readers::Anyone),
        SourceKind::Person | SourceKind::OwnFile | SourceKind::Contact | SourceKind::OwnRecord => {
            (Integrity::Person, own())
        }
        SourceKind::ForeignFile | SourceKind::Mail | SourceKind::ToolOutput => {
            (Integrity::Untrusted, own())
        }
        // A remote model has seen what it was sent, so it tells nobody anything by its answer; but
        // the answer may repeat what only the owner may read.
        SourceKind::RemoteModel => (Integrity::Untrusted, own()),
        SourceKind::Web => (Integrity::Untrusted, Readers::Anyone),
    };
    Label::of(name, Limits { integrity, readers })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::Audience;

    #[test]
    fn the_table_is_as_it_was_decided() {
        let owner = Party::new("ann");
        let row = |kind| {
            let label = default_label(kind, SourceName::new("it"), &owner);
            let public = label.readers().admit(&Audience::Public);
            assert!(label.readers().admit(&Audience::of(&owner)));
            (label.integrity(), public)
        };
        let want = [
            (Integrity::System, true),
            (Integrity::Person, false),
            (Integrity::Person, false),
            (Integrity::Person, false),
            (Integrity::Person, false),
            (Integrity::System, true),
            (Integrity::Untrusted, false),
            (Integrity::Untrusted, false),
            (Integrity::Untrusted, true),
            (Integrity::Untrusted, false),
            (Integrity::Untrusted, false),
        ];
        assert_eq!(SourceKind::ALL.map(row), want);
    }
}
