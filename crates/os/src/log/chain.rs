//! The chain: an event's hash covers the one before it.

use crate::ids::{ContentId, EventNumber};

/// Before the first event.
pub(super) const GENESIS: [u8; 32] = [0; 32];

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its place.
    pub number: EventNumber,
    /// When it was written, in milliseconds since 1970.
    pub time_ms: i64,
    /// If it is a snapshot: the content that has all that the events before amount to.
    pub snapshot: Option<ContentId>,
    /// What happened.
    pub body: Vec<u8>,
    /// blake3 of the hash before and all of the above.
    pub hash: [u8; 32],
}

/// Seals an event.
pub fn seal(
    before: &[u8; 32],
    number: EventNumber,
    time_ms: i64,
    snapshot: Option<ContentId>,
    body: Vec<u8>,
) -> Sealed {
    let hash = hash(before, number, time_ms, snapshot, &body);
    Sealed { number, time_ms, snapshot, body, hash }
}

/// Whether an event is what its hash was made of, after this one.
pub(super) fn holds(before: &[u8; 32], sealed: &Sealed) -> bool {
    let Sealed { number, time_ms, snapshot, body, .. } = sealed;
    hash(before, *number, *time_ms, *snapshot, body) == sealed.hash
}

/// The fields before the body have fixed lengths, so no two events are the same bytes.
fn hash(
    before: &[u8; 32],
    number: EventNumber,
    time_ms: i64,
    snapshot: Option<ContentId>,
    body: &[u8],
) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before);
    hasher.update(&number.0.to_le_bytes());
    hasher.update(&time_ms.to_le_bytes());
    hasher.update(&[u8::from(snapshot.is_some())]);
    hasher.update(snapshot.map_or([0; 32], |id| *id.as_bytes()).as_slice());
    hasher.update(body);
    *hasher.finalize().as_bytes()
}
