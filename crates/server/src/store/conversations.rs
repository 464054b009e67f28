//! Conversations: whose they are, what they are called, and with what they are held.

use rusqlite::types::Value as Cell;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::{Map, Value};

use super::{Store, StoreError, now_ms};

/// Conversations that one owner may have.
const CONVERSATIONS_MAX: usize = 20_000;
/// Bytes of a title.
pub(crate) const TITLE_BYTES_MAX: usize = 400;
/// Bytes of the settings, a JSON schema and the system text among them.
const SETTINGS_BYTES_MAX: usize = 256 << 10;

/// A conversation, without what was said in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conversation {
    /// Identifies it; not to be guessed.
    pub(crate) id: String,
    /// What it is called; empty until it has a name.
    pub(crate) title: String,
    /// The model that answers.
    pub(crate) model: String,
    /// Sampling settings and the system text; what they mean is the page's business.
    pub(crate) settings: Map<String, Value>,
    /// The last message of the branch that is shown.
    pub(crate) leaf: Option<i64>,
    /// When it was begun, in milliseconds since 1970.
    pub(crate) created: i64,
    /// When something was last said.
    pub(crate) updated: i64,
}

/// What is to become of a conversation; none leaves a thing as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    /// The new title.
    pub(crate) title: Option<String>,
    /// The new model.
    pub(crate) model: Option<String>,
    /// The new settings.
    pub(crate) settings: Option<Map<String, Value>>,
}

/// Which conversations are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Text that occurs in them; empty wants all.
    pub(crate) search: String,
    /// How many were listed already.
    pub(crate) skip: usize,
    /// How many at most.
    pub(crate) count_max: usize,
}

/// Some conversations, the latest first.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listing {
    /// The conversations.
    pub(crate) conversations: Vec<Conversation>,
    /// Whether there are more.
    pub(crate) more: bool,
}

impl Store {
    /// Begins a conversation.
    ///
    /// # Errors
    /// A field is too large, the owner has too many, or SQLite says no.
    pub(crate) fn create(
        &self,
        owner: &str,
        model: &str,
        settings: &Map<String, Value>,
    ) -> Result<Conversation, StoreError> {
        let text = settings_text(settings)?;
        bounded("the model's name", model, TITLE_BYTES_MAX)?;
        let (id, now) = (identifier()?, now_ms());
        let connection = self.lock();
        let counting = "SELECT count(*) FROM conversation WHERE owner = ?1";
        let count: usize = connection
            .query_row(counting, [owner], |row| row.get(0))
            .map_err(StoreError::of("counting conversations"))?;
        if count >= CONVERSATIONS_MAX {
            return Err(StoreError::TooMany {
                what: "conversations",
                count_max: CONVERSATIONS_MAX,
            });
        }
        connection
            .execute(
                "INSERT INTO conversation (id, owner, title, model, settings, created, updated)
                 VALUES (?1, ?2, '', ?3, ?4, ?5, ?5)",
                params![id, owner, model, text, now],
            )
            .map_err(StoreError::of("beginning a conversation"))?;
        Ok(Conversation {
            id,
            title: String::new(),
            model: model.to_owned(),
            settings: settings.clone(),
            leaf: None,
            created: now,
            updated: now,
        })
    }

    /// A conversation of this owner.
    ///
    /// # Errors
    /// There is none, or SQLite says no.
    pub(crate) fn conversation(&self, owner: &str, id: &str) -> Result<Conversation, StoreError> {
        find(&self.lock(), owner, id)
    }

    /// The owner's conversations, the latest first. A search of fewer than three characters looks
    /// at titles only.
    ///
    /// # Errors
    /// SQLite says no.
    pub(crate) fn list(&self, owner: &str, wanted: &Wanted) -> Result<Listing, StoreError> {
        let take = wanted.count_max.saturating_add(1);
        let needle = wanted.search.trim();
        let mut values = vec![
            Cell::from(owner.to_owned()),
            Cell::from(i64::try_from(take).unwrap_or(i64::MAX)),
            Cell::from(i64::try_from(wanted.skip).unwrap_or(i64::MAX)),
        ];
        let mut filter = "";
        if !needle.is_empty() {
            filter = "AND title LIKE ?4 ESCAPE '\\'";
            values.push(Cell::from(like(needle)));
        }
        if needle.chars().count() >= 3 {
            filter = "AND (title LIKE ?4 ESCAPE '\\' OR id IN (
                SELECT conversation FROM message WHERE id IN (
                    SELECT rowid FROM search WHERE text MATCH ?5)))";
            // A phrase in quotes: nothing in it is an operator.
            values.push(Cell::from(format!("\"{}\"", needle.replace('"', "\"\""))));
        }
        let asked = format!(
            "SELECT {COLUMNS} FROM conversation WHERE owner = ?1 {filter}
             ORDER BY updated DESC, id LIMIT ?2 OFFSET ?3"
        );
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&asked).map_err(StoreError::of("listing"))?;
        let rows = statement
            .query_map(rusqlite::params_from_iter(values), read)
            .map_err(StoreError::of("listing"))?;
        let mut conversations: Vec<Conversation> =
            rows.collect::<Result<_, _>>().map_err(StoreError::of("listing"))?;
        let more = conversations.len() > wanted.count_max;
        conversations.truncate(wanted.count_max);
        Ok(Listing { conversations, more })
    }

    /// Changes a conversation.
    ///
    /// # Errors
    /// There is none, a field is too large, or SQLite says no.
    pub(crate) fn change(&self, owner: &str, id: &str, change: &Change) -> Result<(), StoreError> {
        if let Some(title) = &change.title {
            bounded("the title", title, TITLE_BYTES_MAX)?;
        }
        if let Some(model) = &change.model {
            bounded("the model's name", model, TITLE_BYTES_MAX)?;
        }
        let settings = change.settings.as_ref().map(settings_text).transpose()?;
        let changed = self
            .lock()
            .execute(
                "UPDATE conversation SET title = coalesce(?3, title), model = coalesce(?4, model),
                 settings = coalesce(?5, settings) WHERE owner = ?1 AND id = ?2",
                params![owner, id, change.title, change.model, settings],
            )
            .map_err(StoreError::of("changing a conversation"))?;
        if changed == 0 { Err(StoreError::NotFound { what: "conversation" }) } else { Ok(()) }
    }

    /// Deletes a conversation with all that was said in it; the bytes are overwritten.
    ///
    /// # Errors
    /// There is none, or SQLite says no.
    pub(crate) fn delete(&self, owner: &str, id: &str) -> Result<(), StoreError> {
        let deleting = || StoreError::of("deleting a conversation");
        let mut connection = self.lock();
        find(&connection, owner, id)?;
        let change = connection.transaction().map_err(deleting())?;
        change
            .execute(
                "DELETE FROM search
                 WHERE rowid IN (SELECT id FROM message WHERE conversation = ?1)",
                [id],
            )
            .map_err(deleting())?;
        change.execute("DELETE FROM conversation WHERE id = ?1", [id]).map_err(deleting())?;
        change.commit().map_err(deleting())?;
        // The log holds the old pages until it is folded in. Another reader may hinder that; then
        // it happens later.
        let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        Ok(())
    }
}

/// Columns in the order of `read`.
const COLUMNS: &str = "id, title, model, settings, leaf, created, updated";

fn read(row: &Row<'_>) -> rusqlite::Result<Conversation> {
    let settings: String = row.get(3)?;
    Ok(Conversation {
        id: row.get(0)?,
        title: row.get(1)?,
        model: row.get(2)?,
        settings: serde_json::from_str(&settings).unwrap_or_default(),
        leaf: row.get(4)?,
        created: row.get(5)?,
        updated: row.get(6)?,
    })
}

pub(super) fn find(
    connection: &Connection,
    owner: &str,
    id: &str,
) -> Result<Conversation, StoreError> {
    let asked = format!("SELECT {COLUMNS} FROM conversation WHERE owner = ?1 AND id = ?2");
    connection
        .query_row(&asked, [owner, id], read)
        .optional()
        .map_err(StoreError::of("looking for a conversation"))?
        .ok_or(StoreError::NotFound { what: "conversation" })
}

/// The pattern that finds a text anywhere.
fn like(needle: &str) -> String {
    let mut pattern = String::from("%");
    for character in needle.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

fn settings_text(settings: &Map<String, Value>) -> Result<String, StoreError> {
    let text = Value::Object(settings.clone()).to_string();
    bounded("the settings", &text, SETTINGS_BYTES_MAX)?;
    Ok(text)
}

pub(super) fn bounded(what: &'static str, text: &str, bytes_max: usize) -> Result<(), StoreError> {
    if text.len() <= bytes_max {
        return Ok(());
    }
    Err(StoreError::TooLarge { what, bytes: text.len(), bytes_max })
}

/// 128 random bits in hex.
fn identifier() -> Result<String, StoreError> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|_| StoreError::NoRandomness)?;
    Ok(format!("{:032x}", u128::from_le_bytes(bytes)))
}
