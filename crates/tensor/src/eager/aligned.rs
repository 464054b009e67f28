//! Bytes that start at a cache line, for packed weights and activations.

/// A line of the caches of every processor that Lucid runs on.
const LINE: usize = 64;

/// A buffer whose first byte lies at a multiple of 64.
#[derive(Default)]
pub(super) struct AlignedBytes {
    buffer: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBytes {
    pub(super) fn zeroed(len: usize) -> Self {
        let mut bytes = Self::default();
        bytes.resize(len);
        bytes
    }

    /// Changes the length. The contents are arbitrary afterwards.
    pub(super) fn resize(&mut self, len: usize) {
        if self.buffer.len() < len + LINE {
            // Fresh from the allocator: its zeros cost no pass over the memory.
            self.buffer = vec![0; len + LINE];
            self.start = self.buffer.as_ptr().align_offset(LINE).min(LINE);
        }
        self.len = len;
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.buffer[self.start..self.start + self.len]
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_buffer_starts_at_a_line() {
        let mut bytes = AlignedBytes::default();
        for len in [1, 63, 64, 65, 5000, 3] {
            bytes.resize(len);
            assert_eq!(bytes.as_slice().len(), len);
            assert_eq!(bytes.as_slice().as_ptr().align_offset(LINE), 0);
        }
    }
}
