//! What can go wrong in training, apart from data.

/// A run cannot be made or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A network that cannot be built.
    #[error("the network's {what}: {found} cannot be; expected {expected}")]
    Network {
        /// Which dimension.
        what: String,
        /// What was asked for.
        found: usize,
        /// What it may be.
        expected: String,
    },
    /// A setting out of its range.
    #[error("{what}: {found} is out of range; expected {expected}")]
    Setting {
        /// Which one.
        what: String,
        /// What was asked for.
        found: String,
        /// What it may be.
        expected: String,
    },
}
