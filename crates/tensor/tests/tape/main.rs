//! The training executor, operation by operation.

mod fixture;
mod operations;
mod passes;
