//! Identifiers that nobody can guess.

use std::fmt::Write as _;

/// `prefix` and 24 hexadecimal digits of the system's randomness.
pub(crate) fn identifier(prefix: &str) -> String {
    let mut bytes = [0_u8; 12];
    fill(&mut bytes);
    let mut text = String::with_capacity(prefix.len() + 24);
    text.push_str(prefix);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A secret of 256 bits.
pub fn secret() -> [u8; 32] {
    let mut bytes = [0_u8; 32];
    fill(&mut bytes);
    bytes
}

/// Fills bytes with the system's randomness.
pub(crate) fn fill(bytes: &mut [u8]) {
    // A system without randomness cannot have opened a socket for us either.
    getrandom::fill(bytes).expect("the system has randomness");
}
