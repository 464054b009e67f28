//! Constrained answers of random models: whatever the logits, what comes out conforms, as an
//! independent judge finds; and formats that cannot be kept to are refused.

#![expect(clippy::print_stdout, reason = "the figures, for whoever asks with --nocapture")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answer;
mod bombs;
mod calls;
mod notations;
mod scheduled;
mod schemas;
mod vocabularies;
