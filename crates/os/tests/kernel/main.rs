//! The system with processes that are played by scripts: what holds for any model.

#![allow(clippy::unwrap_used, reason = "tests")]

mod boundary;
mod fixture;
mod life;
mod windows;
