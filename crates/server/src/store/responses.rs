//! Responses that a client may ask for again, or go on from. What is in them is the protocol's
//! business; here they are JSON text.

use rusqlite::{OptionalExtension as _, params};
use serde_json::Value;

use super::conversations::bounded;
use super::{Store, StoreError, now_ms};

/// Bytes of one response.
const BODY_BYTES_MAX: usize = 16 << 20;
/// Bytes of an identifier or status.
const NAME_BYTES_MAX: usize = 256;
/// Responses of one owner; the oldest make room.
const RESPONSES_MAX: usize = 10_000;
/// How long a response is kept after its last change.
const KEPT_MS: i64 = 30 * 24 * 3600 * 1000;

/// A response that was kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    /// How far it is, in the protocol's words.
    pub(crate) status: String,
    /// The response.
    pub(crate) body: Value,
}

impl Store {
    /// Keeps a response, in place of one with the same identifier. Those older than 30 days, and
    /// the oldest of more than 10,000, go.
    ///
    /// # Errors
    /// It is too large, or SQLite says no.
    pub(crate) fn put_response(
        &self,
        owner: &str,
        id: &str,
        response: &Stored,
    ) -> Result<(), StoreError> {
        bounded("the identifier", id, NAME_BYTES_MAX)?;
        bounded("the status", &response.status, NAME_BYTES_MAX)?;
        let body = response.body.to_string();
        bounded("the response", &body, BODY_BYTES_MAX)?;
        let keeping = || StoreError::of("keeping a response");
        let now = now_ms();
        let mut connection = self.lock();
        let change = connection.transaction().map_err(keeping())?;
        change
            .prepare_cached(
                "INSERT INTO response (owner, id, status, body, created, updated)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5) ON CONFLICT (owner, id)
                 DO UPDATE SET status = ?3, body = ?4, updated = ?5",
            )
            .and_then(|mut put| put.execute(params![owner, id, response.status, body, now]))
            .map_err(keeping())?;
        change
            .prepare_cached(
                "DELETE FROM response WHERE owner = ?1 AND updated < max(?2, coalesce((SELECT
                 updated FROM response WHERE owner = ?1 ORDER BY updated DESC LIMIT 1 OFFSET ?3),
                 0))",
            )
            .and_then(|mut drop| drop.execute(params![owner, now - KEPT_MS, RESPONSES_MAX - 1]))
            .map_err(keeping())?;
        change.commit().map_err(keeping())
    }

    /// A response of this owner.
    ///
    /// # Errors
    /// There is none, or SQLite says no.
    pub(crate) fn response(&self, owner: &str, id: &str) -> Result<Stored, StoreError> {
        let found = self
            .lock()
            .query_row(
                "SELECT status, body FROM response WHERE owner = ?1 AND id = ?2",
                [owner, id],
                |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)),
            )
            .optional()
            .map_err(StoreError::of("looking for a response"))?;
        let Some((status, body)) = found else {
            return Err(StoreError::NotFound { what: "response" });
        };
        Ok(Stored { status, body: serde_json::from_str(&body).unwrap_or_default() })
    }

    /// Deletes a response of this owner; returns whether there was one.
    ///
    /// # Errors
    /// SQLite says no.
    pub(crate) fn delete_response(&self, owner: &str, id: &str) -> Result<bool, StoreError> {
        self.lock()
            .execute("DELETE FROM response WHERE owner = ?1 AND id = ?2", [owner, id])
            .map(|deleted| deleted > 0)
            .map_err(StoreError::of("deleting a response"))
    }
}
