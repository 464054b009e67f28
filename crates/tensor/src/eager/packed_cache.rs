//! The packed cache: what `packing` makes, on disk, to be mapped by the next run.
//!
//! A file is a page with the header, then the packed memory. The header names the layout (format,
//! shape and place of every matrix) and the content that was packed, as a hash of all its bytes. A
//! cache is used if both agree. The content is not hashed again while the model's files are, by
//! length, times and number, in the state in which they were hashed. The packed bytes themselves
//! are not checked again: whoever can change them can change the model beside them.
//!
//! Little-endian: magic, version u32, count of files u32, the files' stamps (5 x u64 each, at most
//! 64), layout hash and content hash of 32 bytes, length of the packed memory u64; zeros up to a
//! page.

use std::io;
use std::path::Path;

use lucid_sys::{Access, Bytes, FileStamp, ThreadPool, write_atomic};

use super::packing::Pending;

const MAGIC: &[u8; 8] = b"LUCIDPKD";
/// Raised when the packed layout of any format changes.
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 4096;
const FILES_MAX: usize = 64;
const STAMP_BYTES: usize = 40;
/// What a thread hashes at a time; part of the definition of the content hash.
const HASH_PIECE: usize = 8 << 20;

/// What a cache must agree with.
pub(super) struct Identity {
    layout: [u8; 32],
    stamps: Vec<FileStamp>,
    len: u64,
}

impl Identity {
    pub(super) fn new(pending: &[Pending], len: usize) -> Self {
        let mut hasher = blake3::Hasher::new();
        let mut files: Vec<&Bytes> = Vec::new();
        for Pending { view, rows, cols, bytes, .. } in pending {
            hasher.update(view.name.as_bytes());
            hasher.update(format!("\0{}\0{rows}\0{cols}\0{bytes}\0", view.dtype).as_bytes());
            if !files.iter().any(|file| file.same_memory(&view.data)) {
                files.push(&view.data);
            }
        }
        // Without a stamp for each file, contents are always compared.
        let stamps: Option<Vec<_>> = files.iter().map(|file| file.stamp()).collect();
        let stamps = stamps.filter(|stamps| stamps.len() <= FILES_MAX).unwrap_or_default();
        Self { layout: *hasher.finalize().as_bytes(), stamps, len: len as u64 }
    }

    fn header(&self, content: &[u8; 32]) -> Vec<u8> {
        let mut header = MAGIC.to_vec();
        header.extend(VERSION.to_le_bytes());
        header.extend((self.stamps.len() as u32).to_le_bytes());
        for stamp in &self.stamps {
            for number in [stamp.len, stamp.modified, stamp.changed, stamp.number, stamp.device] {
                header.extend(number.to_le_bytes());
            }
        }
        header.extend(self.layout);
        header.extend(content);
        header.extend(self.len.to_le_bytes());
        header.resize(HEADER_BYTES, 0);
        header
    }
}

/// A hash of all bytes that are packed.
fn content_hash(pool: &ThreadPool, pending: &[Pending]) -> [u8; 32] {
    let pieces = pending.iter().flat_map(|matrix| matrix.view.data.chunks(HASH_PIECE));
    let mut tasks: Vec<(&[u8], [u8; 32])> = pieces.map(|piece| (piece, [0; 32])).collect();
    pool.for_each(&mut tasks, |_, (piece, hash)| *hash = *blake3::hash(piece).as_bytes());
    let mut hasher = blake3::Hasher::new();
    for (_, hash) in &tasks {
        hasher.update(hash);
    }
    // Not held beside what is packed of it.
    for matrix in pending {
        matrix.view.data.advise(Access::Done);
    }
    *hasher.finalize().as_bytes()
}

/// The packed memory of a cache that agrees; `None` if there is none, or another one.
pub(super) fn open(
    path: &Path,
    identity: &Identity,
    pool: &ThreadPool,
    pending: &[Pending],
) -> Option<Bytes> {
    let file = Bytes::map(path).ok()?;
    if file.len() as u64 != HEADER_BYTES as u64 + identity.len {
        return None;
    }
    let found = &file[..HEADER_BYTES];
    // Where stamps and all else agree, the content hash is whatever stands there.
    let hash_at = 16 + identity.stamps.len() * STAMP_BYTES + 32;
    let stated: [u8; 32] = found[hash_at..hash_at + 32].try_into().ok()?;
    let unchanged = !identity.stamps.is_empty() && identity.header(&stated) == found;
    if !unchanged {
        // Other stamps: the same content under another time, or another content.
        let count = u32::from_le_bytes(found[12..16].try_into().ok()?) as usize;
        if count > FILES_MAX {
            return None;
        }
        let (start, rest) = (16 + count * STAMP_BYTES, HEADER_BYTES);
        let content = content_hash(pool, pending);
        let expected = identity.header(&content);
        let ours = &expected[16 + identity.stamps.len() * STAMP_BYTES..];
        let theirs = &found[start..rest];
        let len = 72; // Two hashes and a length.
        if found[..12] != expected[..12] || ours[..len] != theirs[..len] {
            return None;
        }
    }
    file.slice(HEADER_BYTES..file.len())
}

/// Writes a cache beside `path` and renames it there.
pub(super) fn save(
    path: &Path,
    identity: &Identity,
    pool: &ThreadPool,
    pending: &[Pending],
    packed: &[u8],
) -> io::Result<()> {
    let header = identity.header(&content_hash(pool, pending));
    if pending.iter().any(|matrix| matrix.view.data.changed_on_disk()) {
        // What was packed may not be what was hashed.
        return Err(io::Error::other("the model's file changed while it was being packed"));
    }
    write_atomic(path, |writer| {
        writer.write_all(&header)?;
        writer.write_all(packed)
    })
}
