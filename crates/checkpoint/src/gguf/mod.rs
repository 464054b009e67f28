//! GGUF. Source: the specification in ggml's `docs/gguf.md`; where it is silent, what llama.cpp's
//! loader accepts.

pub(crate) mod read;
pub(crate) mod split;
pub(crate) mod value;
pub(crate) mod write;

/// The first four bytes of a file.
pub(crate) const MAGIC: [u8; 4] = *b"GGUF";
/// Alignment of tensor data where the file does not say otherwise.
pub(crate) const ALIGNMENT_DEFAULT: u64 = 32;
/// Larger alignments have no use and only waste address space.
pub(crate) const ALIGNMENT_MAX: u64 = 1 << 20;
/// The key that sets another alignment.
pub(crate) const ALIGNMENT_KEY: &str = "general.alignment";

/// The value types of metadata, numbered as the specification numbers them.
pub(crate) mod kind {
    pub(crate) const U8: u32 = 0;
    pub(crate) const I8: u32 = 1;
    pub(crate) const U16: u32 = 2;
    pub(crate) const I16: u32 = 3;
    pub(crate) const U32: u32 = 4;
    pub(crate) const I32: u32 = 5;
    pub(crate) const F32: u32 = 6;
    pub(crate) const BOOL: u32 = 7;
    pub(crate) const TEXT: u32 = 8;
    pub(crate) const ARRAY: u32 = 9;
    pub(crate) const U64: u32 = 10;
    pub(crate) const I64: u32 = 11;
    pub(crate) const F64: u32 = 12;
}
