//! The scheduler on the golden models: whatever else runs, a request's answer is the one that it
//! gets alone, to the bit; nobody waits for ever; every block comes back.

#![expect(clippy::print_stdout, reason = "the figures, for whoever asks with --nocapture")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alone;
mod answers;
mod constraints;
mod embeddings;
mod fairness;
mod fixture;
mod prefixes;
mod property;
mod refusals;
mod speculation;
mod trouble;

/// A server gives the scheduler a thread of its own.
const _: () = {
    const fn can_be_sent<T: Send>() {}
    can_be_sent::<lucid_engine::Scheduler>();
};
