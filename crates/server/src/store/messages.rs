//! Messages: a tree in each conversation. Editing and asking again make siblings; nothing that was
//! said is lost.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};
use serde_json::Value;

use super::conversations::{TITLE_BYTES_MAX, bounded, find};
use super::{Store, StoreError, now_ms};

/// Messages of one conversation.
const MESSAGES_MAX: usize = 20_000;
/// Bytes of a text.
const CONTENT_BYTES_MAX: usize = 4 << 20;
/// Bytes of the tokens of an answer, as JSON. Of longer answers the tokens are not kept.
const TOKENS_BYTES_MAX: usize = 8 << 20;

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    /// Identifies it; grows with time.
    pub(crate) id: i64,
    /// What it follows; none where it is the first.
    pub(crate) parent: Option<i64>,
    /// Who speaks.
    pub(crate) role: Role,
    /// What is said.
    pub(crate) content: String,
    /// What was thought before it.
    pub(crate) reasoning: String,
    /// The tools that were called: JSON.
    pub(crate) calls: Value,
    /// The model that said it; empty for a person.
    pub(crate) model: String,
    /// How far it is.
    pub(crate) state: State,
    /// Why it ended and what it took: JSON.
    pub(crate) detail: Value,
    /// When it was begun, in milliseconds since 1970.
    pub(crate) created: i64,
    /// Messages with the same parent, itself among them, the oldest first.
    pub(crate) siblings: Vec<i64>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It is being written.
    Writing,
    /// It is whole.
    Complete,
    /// The person stopped it.
    Stopped,
    /// Something went wrong on the way.
    Failed,
    /// The server ended while it was written.
    Interrupted,
}

/// Something that a person says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    /// What it follows; none where it is the first.
    pub(crate) parent: Option<i64>,
    /// What is said.
    pub(crate) text: &'a str,
    /// What the conversation is called if it has no title.
    pub(crate) title: &'a str,
}

/// What is written down of an answer so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Written {
    /// The text.
    pub(crate) content: String,
    /// The reasoning.
    pub(crate) reasoning: String,
    /// The calls: JSON.
    pub(crate) calls: Value,
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// How far it came.
    pub(crate) state: State,
    /// Why it ended and what it took: JSON.
    pub(crate) detail: Value,
    /// Its tokens with their probabilities: JSON.
    pub(crate) tokens: Option<String>,
}

/// Which part of a branch is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// The last message is the one before this; none wants the end.
    pub(crate) before: Option<i64>,
    /// How many at most.
    pub(crate) count_max: usize,
}

impl Store {
    /// Adds what a person said. It becomes the end of the branch that is shown.
    ///
    /// # Errors
    /// There is no such conversation or parent, it is too large, or SQLite says no.
    #[cfg(test)]
    pub(crate) fn say(
        &self,
        owner: &str,
        conversation: &str,
        parent: Option<i64>,
        content: &str,
    ) -> Result<i64, StoreError> {
        self.alter("adding a message", |change| {
            find(change, owner, conversation)?;
            add(change, conversation, parent, &New::said(content))
        })
    }

    /// Begins an answer to what was said already. It becomes the end of the branch that is shown.
    ///
    /// # Errors
    /// There is no such conversation or parent, or SQLite says no.
    pub(crate) fn begin_answer(
        &self,
        owner: &str,
        conversation: &str,
        parent: i64,
        model: &str,
    ) -> Result<i64, StoreError> {
        self.alter("beginning an answer", |change| {
            find(change, owner, conversation)?;
            add(change, conversation, Some(parent), &New::begun(model))
        })
    }

    /// Adds a question and begins its answer, both or neither: a question that nobody answers would
    /// end its branch for good. A conversation without a title gets one. Returns the answer.
    ///
    /// # Errors
    /// There is no such conversation or parent, something is too large, or SQLite says no.
    pub(crate) fn ask(
        &self,
        owner: &str,
        conversation: &str,
        question: &Question<'_>,
        model: &str,
    ) -> Result<i64, StoreError> {
        bounded("the title", question.title, TITLE_BYTES_MAX)?;
        self.alter("adding a message", |change| {
            find(change, owner, conversation)?;
            let said = New::said(question.text);
            let asked = add(change, conversation, question.parent, &said)?;
            change
                .execute(
                    "UPDATE conversation SET title = ?2 WHERE id = ?1 AND title = ''",
                    params![conversation, question.title],
                )
                .map_err(StoreError::of("naming a conversation"))?;
            add(change, conversation, Some(asked), &New::begun(model))
        })
    }

    /// Does several things, all of them or none.
    fn alter<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.lock();
        let change = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(StoreError::of(doing))?;
        let done = work(&change)?;
        change.commit().map_err(StoreError::of(doing))?;
        Ok(done)
    }

    /// Writes down an answer as far as it has come.
    ///
    /// # Errors
    /// It is too large, or SQLite says no.
    pub(crate) fn write(&self, id: i64, written: &Written) -> Result<(), StoreError> {
        bounded("the answer", &written.content, CONTENT_BYTES_MAX)?;
        bounded("the reasoning", &written.reasoning, CONTENT_BYTES_MAX)?;
        let calls = written.calls.to_string();
        self.lock()
            .execute(
                "UPDATE message SET content = ?2, reasoning = ?3, calls = ?4 WHERE id = ?1",
                params![id, written.content, written.reasoning, calls],
            )
            .map_err(StoreError::of("writing an answer"))?;
        Ok(())
    }

    /// Ends an answer: nothing is written to it afterwards.
    ///
    /// # Errors
    /// It is too large, or SQLite says no.
    pub(crate) fn finish(
        &self,
        id: i64,
        written: &Written,
        outcome: &Outcome,
    ) -> Result<(), StoreError> {
        bounded("the answer", &written.content, CONTENT_BYTES_MAX)?;
        bounded("the reasoning", &written.reasoning, CONTENT_BYTES_MAX)?;
        let tokens = outcome.tokens.as_ref().filter(|text| text.len() <= TOKENS_BYTES_MAX);
        let finishing = || StoreError::of("ending an answer");
        let mut connection = self.lock();
        let change = connection.transaction().map_err(finishing())?;
        let changed = change
            .execute(
                "UPDATE message SET content = ?2, reasoning = ?3, calls = ?4, state = ?5,
                 detail = ?6, tokens = ?7 WHERE id = ?1",
                params![
                    id,
                    written.content,
                    written.reasoning,
                    written.calls.to_string(),
                    outcome.state,
                    outcome.detail.to_string(),
                    tokens,
                ],
            )
            .map_err(finishing())?;
        if changed > 0 {
            index(&change, id, &written.content).map_err(finishing())?;
        }
        change.commit().map_err(finishing())
    }

    /// Ends an answer with what was last written of it. No text is touched, so this goes through
    /// where `finish` does not.
    ///
    /// # Errors
    /// SQLite says no.
    pub(crate) fn close(&self, id: i64, state: State, detail: &Value) -> Result<(), StoreError> {
        self.lock()
            .execute(
                "UPDATE message SET state = ?2, detail = ?3 WHERE id = ?1",
                params![id, state, detail.to_string()],
            )
            .map_err(StoreError::of("ending an answer"))?;
        Ok(())
    }

    /// The conversation that a message of this owner belongs to.
    ///
    /// # Errors
    /// There is none, or SQLite says no.
    pub(crate) fn conversation_of(&self, owner: &str, id: i64) -> Result<String, StoreError> {
        self.lock()
            .query_row(
                "SELECT conversation FROM message JOIN conversation
                 ON conversation.id = message.conversation WHERE owner = ?1 AND message.id = ?2",
                params![owner, id],
                |row| row.get(0),
            )
            .optional()
            .map_err(StoreError::of("looking for a message"))?
            .ok_or(StoreError::NotFound { what: "message" })
    }

    /// The tokens of an answer with their probabilities, as `finish` was given them.
    ///
    /// # Errors
    /// There is no such message, or SQLite says no.
    pub(crate) fn tokens(&self, owner: &str, id: i64) -> Result<Option<String>, StoreError> {
        self.conversation_of(owner, id)?;
        self.lock()
            .query_row("SELECT tokens FROM message WHERE id = ?1", [id], |row| row.get(0))
            .map_err(StoreError::of("reading tokens"))
    }

    /// The messages of the branch that ends with `leaf`, the first one first; of a long branch its
    /// last part.
    ///
    /// # Errors
    /// There is no such conversation or message, or SQLite says no.
    pub(crate) fn branch(
        &self,
        owner: &str,
        conversation: &str,
        leaf: Option<i64>,
        window: Window,
    ) -> Result<Vec<Message>, StoreError> {
        let connection = self.lock();
        find(&connection, owner, conversation)?;
        let end = match window.before {
            Some(before) => match parent_of(&connection, conversation, before)? {
                Some(parent) => parent,
                None => return Ok(Vec::new()),
            },
            None => match leaf {
                Some(leaf) => leaf,
                None => return Ok(Vec::new()),
            },
        };
        let mut messages = walk_up(&connection, conversation, end, window.count_max)?;
        for message in &mut messages {
            message.siblings = children(&connection, conversation, message.parent)?;
        }
        Ok(messages)
    }

    /// Shows another branch: the one through this message, down to its youngest end. Returns that
    /// end.
    ///
    /// # Errors
    /// There is no such conversation or message, or SQLite says no.
    pub(crate) fn show_branch(
        &self,
        owner: &str,
        conversation: &str,
        through: i64,
    ) -> Result<i64, StoreError> {
        let connection = self.lock();
        find(&connection, owner, conversation)?;
        parent_of(&connection, conversation, through)?;
        let mut leaf = through;
        // Children are younger, so this ends.
        while let Some(&child) = children(&connection, conversation, Some(leaf))?.last() {
            leaf = child;
        }
        connection
            .execute("UPDATE conversation SET leaf = ?2 WHERE id = ?1", params![conversation, leaf])
            .map_err(StoreError::of("showing another branch"))?;
        Ok(leaf)
    }

    /// All messages of a conversation, the oldest first.
    ///
    /// # Errors
    /// There is no such conversation, or SQLite says no.
    pub(crate) fn messages(
        &self,
        owner: &str,
        conversation: &str,
    ) -> Result<Vec<Message>, StoreError> {
        let connection = self.lock();
        find(&connection, owner, conversation)?;
        let asked = format!("SELECT {COLUMNS} FROM message WHERE conversation = ?1 ORDER BY id");
        let reading = || StoreError::of("reading messages");
        let mut statement = connection.prepare_cached(&asked).map_err(reading())?;
        let rows = statement.query_map([conversation], read).map_err(reading())?;
        rows.collect::<Result<_, _>>().map_err(reading())
    }
}

/// A message to be added.
struct New<'a> {
    role: Role,
    content: &'a str,
    model: &'a str,
    state: State,
}

impl<'a> New<'a> {
    fn said(content: &'a str) -> Self {
        Self { role: Role::User, content, model: "", state: State::Complete }
    }

    fn begun(model: &'a str) -> Self {
        Self { role: Role::Assistant, content: "", model, state: State::Writing }
    }
}

/// Adds a message as the end of the branch that is shown.
fn add(
    change: &Connection,
    conversation: &str,
    parent: Option<i64>,
    new: &New<'_>,
) -> Result<i64, StoreError> {
    bounded("the message", new.content, CONTENT_BYTES_MAX)?;
    check_place(change, conversation, parent, new.role)?;
    let adding = || StoreError::of("adding a message");
    let now = now_ms();
    change
        .execute(
            "INSERT INTO message (conversation, parent, role, content, reasoning, calls,
             model, state, detail, created)
             VALUES (?1, ?2, ?3, ?4, '', '[]', ?5, ?6, '{}', ?7)",
            params![conversation, parent, new.role, new.content, new.model, new.state, now],
        )
        .map_err(adding())?;
    let id = change.last_insert_rowid();
    change
        .execute(
            "UPDATE conversation SET leaf = ?2, updated = max(updated, ?3) WHERE id = ?1",
            params![conversation, id, now],
        )
        .map_err(adding())?;
    index(change, id, new.content).map_err(adding())?;
    Ok(id)
}

/// People and models take turns, and a conversation ends somewhere.
fn check_place(
    connection: &Connection,
    conversation: &str,
    parent: Option<i64>,
    role: Role,
) -> Result<(), StoreError> {
    let before = match parent {
        Some(parent) => Some(role_of(connection, conversation, parent)?),
        None => None,
    };
    let reason = match (before, role) {
        (None, Role::Assistant) => "an answer needs something that it answers",
        (Some(Role::Assistant), Role::Assistant) => "an answer follows what a person said",
        (Some(Role::User), Role::User) => "what a person says follows an answer",
        _ => {
            let counting = "SELECT count(*) FROM message WHERE conversation = ?1";
            let count: usize = connection
                .query_row(counting, [conversation], |row| row.get(0))
                .map_err(StoreError::of("counting messages"))?;
            if count < MESSAGES_MAX {
                return Ok(());
            }
            let what = "messages in this conversation";
            return Err(StoreError::TooMany { what, count_max: MESSAGES_MAX });
        }
    };
    Err(StoreError::Misplaced { reason })
}

fn role_of(connection: &Connection, conversation: &str, id: i64) -> Result<Role, StoreError> {
    connection
        .query_row(
            "SELECT role FROM message WHERE conversation = ?1 AND id = ?2",
            params![conversation, id],
            |row| row.get(0),
        )
        .optional()
        .map_err(StoreError::of("looking for a message"))?
        .ok_or(StoreError::NotFound { what: "message" })
}

fn parent_of(
    connection: &Connection,
    conversation: &str,
    id: i64,
) -> Result<Option<i64>, StoreError> {
    connection
        .query_row(
            "SELECT parent FROM message WHERE conversation = ?1 AND id = ?2",
            params![conversation, id],
            |row| row.get(0),
        )
        .optional()
        .map_err(StoreError::of("looking for a message"))?
        .ok_or(StoreError::NotFound { what: "message" })
}

fn children(
    connection: &Connection,
    conversation: &str,
    parent: Option<i64>,
) -> Result<Vec<i64>, StoreError> {
    let reading = || StoreError::of("reading branches");
    let asked = "SELECT id FROM message WHERE conversation = ?1 AND parent IS ?2 ORDER BY id";
    let mut statement = connection.prepare_cached(asked).map_err(reading())?;
    let rows =
        statement.query_map(params![conversation, parent], |row| row.get(0)).map_err(reading())?;
    rows.collect::<Result<_, _>>().map_err(reading())
}

fn walk_up(
    connection: &Connection,
    conversation: &str,
    end: i64,
    count_max: usize,
) -> Result<Vec<Message>, StoreError> {
    let reading = || StoreError::of("reading a branch");
    let asked = format!("SELECT {COLUMNS} FROM message WHERE conversation = ?1 AND id = ?2");
    let mut statement = connection.prepare_cached(&asked).map_err(reading())?;
    let mut messages = Vec::new();
    let mut next = Some(end);
    while let Some(id) = next.filter(|_| messages.len() < count_max) {
        let found = statement.query_row(params![conversation, id], read).optional();
        let message = found.map_err(reading())?.ok_or(StoreError::NotFound { what: "message" })?;
        next = message.parent;
        messages.push(message);
    }
    messages.reverse();
    Ok(messages)
}

/// Makes a message findable; an earlier text of it is forgotten.
fn index(connection: &Connection, id: i64, content: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM search WHERE rowid = ?1")?.execute([id])?;
    if !content.is_empty() {
        connection
            .prepare_cached("INSERT INTO search (rowid, text) VALUES (?1, ?2)")?
            .execute(params![id, content])?;
    }
    Ok(())
}

/// Columns in the order of `read`.
const COLUMNS: &str = "id, parent, role, content, reasoning, calls, model, state, detail, created";

fn read(row: &Row<'_>) -> rusqlite::Result<Message> {
    let (calls, detail): (String, String) = (row.get(5)?, row.get(8)?);
    Ok(Message {
        id: row.get(0)?,
        parent: row.get(1)?,
        role: row.get(2)?,
        content: row.get(3)?,
        reasoning: row.get(4)?,
        calls: serde_json::from_str(&calls).unwrap_or_default(),
        model: row.get(6)?,
        state: row.get(7)?,
        detail: serde_json::from_str(&detail).unwrap_or_default(),
        created: row.get(9)?,
        siblings: Vec::new(),
    })
}

impl Role {
    /// Its name in the file and on the page.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

impl State {
    /// Its name in the file and on the page.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Writing => "writing",
            Self::Complete => "complete",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

impl ToSql for Role {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.name().into())
    }
}

impl FromSql for Role {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "user" => Ok(Self::User),
            "assistant" => Ok(Self::Assistant),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

impl ToSql for State {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.name().into())
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "writing" => Ok(Self::Writing),
            "complete" => Ok(Self::Complete),
            "stopped" => Ok(Self::Stopped),
            "failed" => Ok(Self::Failed),
            "interrupted" => Ok(Self::Interrupted),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}
