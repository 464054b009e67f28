//! Buffers that start at a cache line: what vector kernels read and write whole lines of.

/// A line of the caches of every processor that Lucid runs on.
const LINE: usize = 64;

/// A buffer of numbers whose first byte lies at a multiple of 64.
#[derive(Default)]
pub(super) struct Aligned<T> {
    buffer: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// Zeros.
    pub(super) fn zeroed(len: usize) -> Self {
        let mut buffer = Self::default();
        buffer.resize(len);
        buffer
    }

    /// Elements that fit without a new allocation.
    pub(super) fn capacity(&self) -> usize {
        self.buffer.len().saturating_sub(LINE / size_of::<T>())
    }

    /// Changes the length. The contents are arbitrary afterwards.
    pub(super) fn resize(&mut self, len: usize) {
        if self.capacity() < len || self.buffer.is_empty() {
            // Fresh from the allocator: its zeros cost no pass over the memory, and what was there
            // needs no copy.
            self.buffer = Vec::new();
            let slack = LINE / size_of::<T>();
            self.buffer = vec![T::default(); len + slack];
            self.start = self.buffer.as_ptr().align_offset(LINE).min(slack);
        }
        self.len = len;
    }

    pub(super) fn as_slice(&self) -> &[T] {
        &self.buffer[self.start..self.start + self.len]
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.buffer[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Copy + Default>() {
        let mut buffer = Aligned::<T>::default();
        for len in [1, 63, 64, 65, 5000, 3, 0] {
            buffer.resize(len);
            assert_eq!(buffer.as_mut_slice().len(), len);
            assert_eq!(buffer.as_slice().as_ptr().align_offset(LINE), 0);
            assert!(buffer.capacity() >= len);
        }
    }

    #[test]
    fn every_buffer_starts_at_a_line() {
        check::<u8>();
        check::<f32>();
    }

    #[test]
    fn a_buffer_that_is_large_enough_stays() {
        let mut buffer = Aligned::<f32>::default();
        buffer.resize(100);
        let at = buffer.as_slice().as_ptr();
        buffer.resize(7);
        buffer.resize(100);
        assert_eq!(buffer.as_slice().as_ptr(), at);
    }
}
