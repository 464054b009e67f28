//! Bounds on what one rendering may cost. Every string and list that a template makes is charged to
//! them.

/// Bounds on one rendering. Memory is at most `memory_bytes + memory_per_input_byte * input`, where
/// the input is the template's source and everything it is given; time follows from that and from
/// `instructions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Steps of the template's virtual machine.
    pub instructions: u64,
    /// Bytes of text and list entries that the template may make, all together.
    pub memory_bytes: u64,
    /// Further bytes for each byte of input.
    pub memory_per_input_byte: u64,
    /// Bytes of rendered text; for long conversations, twice their length counts when that is more.
    pub output_bytes: u64,
    /// Depth of nested macros, loops and includes, at most 500.
    pub recursion: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            instructions: 10_000_000,
            memory_bytes: 4 << 20,
            memory_per_input_byte: 256,
            output_bytes: 2 << 20,
            recursion: 100,
        }
    }
}
