//! From text to weights: data, optimisers, runs and their checkpoints.
//!
//! Prints nothing and reads no environment: what happens in a run is told to an observer.

#![forbid(unsafe_code)]

pub mod data;
