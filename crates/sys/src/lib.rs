//! Memory maps, processor topology and the thread pool. Knows nothing about models, files' formats or numbers.

mod bytes;

pub use bytes::{Bytes, MapError};
