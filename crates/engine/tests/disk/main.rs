//! Keys and values on disk: found again after a restart to the same bits, by whom they belong to,
//! and never wrong.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod damage;
mod fixture;
mod folder;
mod kill;
mod restart;
mod serving;
