//! Memory of its own for large things: fresh pages from the system, huge ones where it has them.

use std::io;
use std::ops::{Deref, DerefMut};

/// The size of pages to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// What the system gives unasked.
    Ordinary,
    /// Huge ones, so that fewer translations are needed; a hint.
    Huge,
}

/// Zeroed bytes that begin at a page. A page costs memory from when it is first written, and lies
/// near the processor that wrote it.
#[derive(Debug)]
pub struct Anonymous {
    map: memmap2::MmapMut,
}

impl Anonymous {
    /// Asks the system for `len` bytes.
    ///
    /// # Errors
    /// The system refuses.
    pub fn new(len: usize, pages: Pages) -> io::Result<Self> {
        let map = memmap2::MmapMut::map_anon(len)?;
        #[cfg(target_os = "linux")]
        if pages == Pages::Huge {
            // A refused hint changes nothing.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = pages;
        Ok(Self { map })
    }
}

impl Deref for Anonymous {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl DerefMut for Anonymous {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_zero_and_can_be_written() {
        for pages in [Pages::Ordinary, Pages::Huge] {
            let mut bytes = Anonymous::new(5_000_000, pages).unwrap();
            assert!(bytes.iter().all(|&byte| byte == 0));
            assert_eq!(bytes.as_ptr().align_offset(4096), 0);
            bytes[4_999_999] = 7;
            assert_eq!((bytes.len(), bytes[4_999_999]), (5_000_000, 7));
        }
    }
}
