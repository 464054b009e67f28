//! The `lucid` command: the only crate that prints, reads the environment and uses anyhow.

fn main() {}
