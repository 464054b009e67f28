//! How keys and values of past positions are stored, by chunks of one head.
//!
//! A chunk is `KV_CHUNK` positions of one head: keys, then values. Keys lie transposed, so that a
//! vector holds sixteen positions and a product needs no horizontal sum:
//! - F32, F16, BF16: `[dim][position]`;
//! - Q8_0: per block of 32 dimensions `[32][position]` signed bytes, then an f16 scale for each
//!   position;
//! - Q4_0: per block of 32 dimensions `[16][position]` bytes, the low nibbles those of dimensions
//!   0..16, the high nibbles of 16..32; then an f16 scale per position.
//!
//! Values are rows of the plain format, `[position][dim]`. The numbers are those of GGUF's formats
//! of the same names, so a position's bits depend on itself alone.

use crate::DType;

/// Elements of a block of Q8_0 and Q4_0.
pub(super) const BLOCK: usize = 32;

/// Positions of a chunk.
pub const KV_CHUNK: usize = 64;

/// The number format of stored keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvDType {
    /// 4 bytes an element; exact.
    F32,
    /// 2 bytes an element, 11 bits of precision.
    F16,
    /// 2 bytes an element, 8 bits of precision.
    BF16,
    /// 34 bytes for 32 elements.
    Q8_0,
    /// 18 bytes for 32 elements.
    Q4_0,
}

impl KvDType {
    /// Heads must be a multiple of so many elements wide.
    pub fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q8_0 | Self::Q4_0 => BLOCK,
        }
    }

    /// Bytes of so many elements, a whole number of blocks.
    pub fn bytes(self, elements: usize) -> usize {
        match self {
            Self::F32 => 4 * elements,
            Self::F16 | Self::BF16 => 2 * elements,
            Self::Q8_0 => elements / BLOCK * 34,
            Self::Q4_0 => elements / BLOCK * 18,
        }
    }

    /// Bytes of one chunk of one head.
    pub fn chunk_bytes(self, head_dim: usize, value_dim: usize) -> usize {
        KV_CHUNK * (self.bytes(head_dim) + self.bytes(value_dim))
    }

    /// `f32`, `f16`, `bf16`, `q8_0` or `q4_0`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
        }
    }

    /// The format of a row of values.
    pub(super) fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
            Self::Q8_0 => DType::Q8_0,
            Self::Q4_0 => DType::Q4_0,
        }
    }
}
