//! The system with processes that are played by scripts: what holds for any model.

#![allow(clippy::unwrap_used, reason = "tests")]

mod boundary;
mod fixture;
mod life;
mod mind;
mod pauses;
#[path = "../../../cli/tests/e2e/tiny.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod tiny;
mod windows;
