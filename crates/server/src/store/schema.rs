//! The tables, version by version. A version that was published is never changed: what comes after
//! is a further step.

use rusqlite::Connection;

use super::StoreError;

/// The steps from one version to the next; a new file takes all of them. `user_version` tells how
/// many a file has taken.
pub(super) const STEPS: &[&str] = &[CONVERSATIONS, RESPONSES, SEARCH, FORGETTING];

/// Messages form a tree: those with the same parent are alternatives of each other. `leaf` is the
/// last message of the branch that is shown. Times are milliseconds since 1970. A parent is older
/// than its child, so no damage makes a circle.
const CONVERSATIONS: &str = "
CREATE TABLE conversation (
    id TEXT PRIMARY KEY NOT NULL,
    owner TEXT NOT NULL,
    title TEXT NOT NULL,
    model TEXT NOT NULL,
    settings TEXT NOT NULL,
    leaf INTEGER,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL
) STRICT;
CREATE INDEX conversation_of_owner ON conversation (owner, updated);
CREATE TABLE message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation TEXT NOT NULL REFERENCES conversation (id) ON DELETE CASCADE,
    parent INTEGER CHECK (parent < id),
    role TEXT NOT NULL,
    content TEXT NOT NULL,
    reasoning TEXT NOT NULL,
    calls TEXT NOT NULL,
    model TEXT NOT NULL,
    state TEXT NOT NULL,
    detail TEXT NOT NULL,
    tokens TEXT,
    created INTEGER NOT NULL
) STRICT;
CREATE INDEX message_of_parent ON message (conversation, parent, id);
";

const RESPONSES: &str = "
CREATE TABLE response (
    owner TEXT NOT NULL,
    id TEXT NOT NULL,
    status TEXT NOT NULL,
    body TEXT NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    PRIMARY KEY (owner, id)
) STRICT;
CREATE INDEX response_by_age ON response (owner, updated);
";

/// Three characters anywhere in a text find it, in any writing and whatever the case. The texts
/// stand there a second time: an index without them would have to be told each old text again to
/// forget it.
const SEARCH: &str = "
CREATE VIRTUAL TABLE search USING fts5 (text, tokenize = 'trigram');
INSERT INTO search (rowid, text) SELECT id, content FROM message WHERE content <> '';
";

/// Without this a deleted text leaves its three-letter pieces in the index, marked as gone, until
/// enough others were written. Older files are rid of what they kept so.
const FORGETTING: &str = "
INSERT INTO search (search, rank) VALUES ('secure-delete', 1);
INSERT INTO search (search) VALUES ('rebuild');
";

/// Brings a file to the last version.
///
/// # Errors
/// SQLite says no. Each step happens whole or not at all.
pub(super) fn migrate(connection: &mut Connection, from: i64) -> Result<(), StoreError> {
    let done = usize::try_from(from).unwrap_or(0);
    for (index, step) in STEPS.iter().enumerate().skip(done) {
        let change = connection.transaction().map_err(StoreError::of("migrating"))?;
        change.execute_batch(step).map_err(StoreError::of("migrating"))?;
        let version = index as i64 + 1;
        change.pragma_update(None, "user_version", version).map_err(StoreError::of("migrating"))?;
        change.commit().map_err(StoreError::of("migrating"))?;
    }
    Ok(())
}
