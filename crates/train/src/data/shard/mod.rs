//! Tokenised documents on disk: files that are mapped, each with its vocabulary's fingerprint.
//!
//! A shard, all numbers little-endian:
//!
//! | byte | what |
//! |---|---|
//! | 0 | `LUCIDTOK` |
//! | 8 | version, u32 |
//! | 12 | bytes of a token, u32: 2 or 4 |
//! | 16 | documents D, u64 |
//! | 24 | tokens N, u64 |
//! | 32 | bytes of text behind them, u64 |
//! | 40 | tokens in the vocabulary, u32 |
//! | 44 | the token before each document, u32; `u32::MAX` for none |
//! | 48 | the vocabulary's fingerprint, 32 bytes |
//! | 80 | BLAKE3 of the tokens' bytes |
//! | 112 | BLAKE3 of what stands before this field, and of the table |
//! | 144 | the table: where each document begins, in tokens, and N; D + 1 times u64 |
//! | | N tokens |
//!
//! Invariant: a file under a shard's name is whole. It is written beside and renamed, and the list
//! of a set ([`Prepared`](super::Prepared)) is written last.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::{Check, Shards};
pub(in crate::data) use write::hexadecimal;
pub use write::{ShardEntry, ShardWriter};

const MAGIC: [u8; 8] = *b"LUCIDTOK";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 144;
const TOKENS_HASH: usize = 80;
const HEADER_HASH: usize = 112;
const NO_TOKEN: u32 = u32::MAX;

/// Most tokens of one document: positions in it are u32.
const DOCUMENT_TOKENS_MAX: u64 = 1 << 31;
