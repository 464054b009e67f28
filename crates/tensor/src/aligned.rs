//! Buffers that start at a cache line: what vector kernels read and write whole lines of.

/// A line of the caches of every processor that Lucid runs on.
const LINE: usize = 64;

/// A buffer of numbers whose first byte lies at a multiple of 64.
#[derive(Default)]
pub(crate) struct Aligned<T> {
    buffer: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// Zeros.
    pub(crate) fn zeroed(len: usize) -> Self {
        let mut buffer = Self::default();
        buffer.resize(len);
        buffer
    }

    /// Elements that fit without a new allocation.
    pub(crate) fn capacity(&self) -> usize {
        self.buffer.len().saturating_sub(LINE / size_of::<T>())
    }

    /// Changes the length. The contents are arbitrary afterwards.
    pub(crate) fn resize(&mut self, len: usize) {
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

    /// Adds zeros at the end and keeps what is there. Memory that is fresh is not touched.
    pub(crate) fn extend(&mut self, count: usize) {
        let from = self.len;
        let len = from + count;
        if self.capacity() < len {
            let mut larger = Self::zeroed(len.max(2 * from));
            larger.as_mut_slice()[..from].copy_from_slice(self.as_slice());
            *self = larger;
            self.len = len;
        } else {
            self.len = len;
            self.as_mut_slice()[from..].fill(T::default());
        }
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        &self.buffer[self.start..self.start + self.len]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
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
    fn what_is_there_stays_when_more_is_added() {
        let mut buffer = Aligned::<u16>::default();
        for count in 1..50 {
            let from = buffer.as_slice().len();
            buffer.extend(count);
            assert!(buffer.as_slice()[from..].iter().all(|&x| x == 0));
            buffer.as_mut_slice()[from..].fill(count as u16);
        }
        assert!((1..50u16).flat_map(|x| vec![x; x as usize]).eq(buffer.as_slice().to_vec()));
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
