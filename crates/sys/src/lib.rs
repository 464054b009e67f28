//! Memory maps, processor topology, the thread pool and atomic file replacement.
//! Knows nothing about models, files' formats or numbers.
//!
//! Every call that only one system has (`/proc`, `madvise`) lives in this crate, behind a `cfg` and
//! with a fallback.

mod anonymous;
mod atomic_file;
mod bytes;
mod cgroup;
mod counting;
mod descriptors;
mod memory;
mod pool;
mod private;
mod topology;

pub use anonymous::{Anonymous, Pages};
pub use atomic_file::{abandon_writes, check_target, write_atomic};
pub use bytes::{Access, Bytes, FileStamp, MapError};
pub use counting::CountingAllocator;
pub use descriptors::raise_descriptor_limit;
pub use memory::{Memory, peak_resident_bytes};
pub use pool::ThreadPool;
pub use private::{create_private, create_private_folder};
pub use topology::Topology;
