//! From text to weights: data, optimisers, runs and their checkpoints.
//!
//! Prints nothing and reads no environment: what happens in a run is told to an observer.

#![forbid(unsafe_code)]

pub mod conversation;
pub mod curriculum;
pub mod data;
mod error;
mod feed;
pub mod group;
mod guard;
mod lanes;
mod network;
mod optimiser;
mod pace;
mod plan;
mod preference;
mod random;
pub mod record;
mod run;
mod saved;
mod scaling;
mod schedule;
mod trainer;

pub use error::TrainError;
pub use feed::{Compared, Material};
pub use group::{Alone, Group};
pub use guard::Verdict;
pub use network::{Architecture, First, Network, Planned, Weights};
pub use pace::Pace;
pub use plan::{Dial, Limits, Overrides, Plan, Precision, Reason, Rule, Time};
pub use preference::{
    Objective, Preference, PreferenceLoss, Reference, Told, keep_reference, kept_reference,
};
pub use run::{Cadence, Decode, Ended, Run, Surroundings, Watch, Wish, checkpoints};
pub use saved::{Saved, save};
pub use schedule::{Course, LrSchedule};
pub use trainer::{Setup, StepReport, Trainer, Validation};
