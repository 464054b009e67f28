//! An allocator that counts what a thread holds, for tests of how much memory reading a file takes.
//! A block that grows or shrinks counts as its new size: the system moves large ones without
//! holding both.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes held, and the most of them since the count began.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// The system's allocator, counted. A test binary makes it its `#[global_allocator]`.
pub struct CountingAllocator;

impl CountingAllocator {
    /// What `run` gives, and the most bytes that this thread held at a time meanwhile beside what
    /// it held before. 0 where this is not the program's allocator.
    pub fn peak_of<T>(run: impl FnOnce() -> T) -> (T, usize) {
        let (before, outer) = HELD.get();
        HELD.set((before, before));
        let value = run();
        let (held, peak) = HELD.get();
        HELD.set((held, outer.max(peak)));
        (value, (peak - before).max(0) as usize)
    }
}

fn count(bytes: isize) {
    // A thread that ends has no count any more.
    let _ = HELD.try_with(|held| {
        let now = held.get().0 + bytes;
        held.set((now, held.get().1.max(now)));
    });
}

// SAFETY: every call is handed on unchanged to the system's allocator; counting neither allocates
// nor unwinds.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as for this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as for this function.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as for this function.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: as for this function.
        unsafe { System.realloc(block, layout, size) }
    }
}
