//! From text to weights: data, optimisers, runs and their checkpoints.
//!
//! Prints nothing and reads no environment: what happens in a run is told to an observer.

#![forbid(unsafe_code)]

pub mod data;
mod error;
mod network;
mod plan;
mod random;
mod schedule;

pub use error::TrainError;
pub use network::{Architecture, First, Network, Planned, Weights};
pub use plan::{Dial, Overrides, Plan, Precision, Reason, Rule};
pub use schedule::{Course, LrSchedule};
