//! One rendering's budget and settings, shared by every operation that a template can call.
//! Invariant: an operation charges what it makes before it makes it, so memory stays within
//! [`Limits`].

use super::provenance::Marks;
use super::{Limits, LocalTime, TemplateError};
use minijinja::{Error, ErrorKind, Value};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Deepest nesting of lists and mappings that a template may build.
pub(super) const DEPTH_MAX: u32 = 64;
/// What one list entry costs.
const ENTRY_BYTES: u64 = 48;
/// Scanning this many bytes costs as much as making one.
const SCAN_PER_BYTE: u64 = 64;

/// Shared by all operations of one rendering.
pub(super) struct Host {
    left: AtomicU64,
    limit: u64,
    pub(super) limits: Limits,
    pub(super) now: LocalTime,
    pub(super) marks: Arc<Marks>,
    /// Whether message text is marked (the second pass of `provenance`).
    pub(super) traced: bool,
    failure: Mutex<Option<TemplateError>>,
}

impl Host {
    pub(super) fn new(
        limits: Limits,
        input_bytes: u64,
        now: LocalTime,
        marks: Arc<Marks>,
        traced: bool,
    ) -> Self {
        let limit = limits
            .memory_bytes
            .saturating_add(limits.memory_per_input_byte.saturating_mul(input_bytes));
        let left = AtomicU64::new(limit);
        Self { left, limit, limits, now, marks, traced, failure: Mutex::new(None) }
    }

    /// Records a typed error and returns the engine's error that stops the template.
    pub(super) fn fail(&self, error: TemplateError) -> Error {
        let text = error.to_string();
        let mut slot = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert(error);
        Error::new(ErrorKind::InvalidOperation, text)
    }

    pub(super) fn take_failure(&self) -> Option<TemplateError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Pays for `bytes` that are about to be made.
    pub(super) fn charge(&self, bytes: u64) -> Result<(), Error> {
        let left = self.left.load(Ordering::Relaxed);
        if bytes > left {
            return Err(self.fail(TemplateError::Limit { what: "memory", limit: self.limit }));
        }
        self.left.store(left - bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Pays for `count` entries of a list or mapping.
    pub(super) fn charge_entries(&self, count: usize) -> Result<(), Error> {
        self.charge((count as u64).saturating_mul(ENTRY_BYTES))
    }

    /// Pays for reading `bytes`.
    pub(super) fn charge_scan(&self, bytes: usize) -> Result<(), Error> {
        self.charge(bytes as u64 / SCAN_PER_BYTE)
    }

    /// A new string, paid for.
    pub(super) fn text(&self, text: impl Into<String>) -> Result<Value, Error> {
        let text = text.into();
        self.charge(text.len() as u64)?;
        Ok(Value::from(text))
    }

    /// A character made from message text by an operation: marked when marks are on.
    pub(super) fn derived(&self, c: char) -> char {
        if self.traced { self.marks.message(c) } else { c }
    }
}

/// A plain error of an operation.
pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}
