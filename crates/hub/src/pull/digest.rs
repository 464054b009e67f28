//! The two checksums of the hub: SHA-256 of the content (files in large-file storage, which is
//! where weights are) and git's blob id, SHA-1 of `"blob SIZE\0"` and the content (small files).

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// What a file's content must hash to, in lower-case hex.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Checksum {
    /// SHA-256 of the content.
    Sha256(String),
    /// git's blob id.
    GitBlob(String),
}

impl Checksum {
    /// Tells the two apart by length: 64 or 40 hex digits, in quotes or not.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix("W/").unwrap_or(text).trim_matches('"');
        let hex = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
        match hex.len() {
            _ if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => None,
            64 => Some(Self::Sha256(hex)),
            40 => Some(Self::GitBlob(hex)),
            _ => None,
        }
    }

    /// The hex digits.
    pub fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::GitBlob(hex) => hex,
        }
    }
}

/// A running checksum of a file of known size.
pub(super) struct Hasher(Context);

impl Hasher {
    pub(super) fn new(kind: Option<&Checksum>, bytes: u64) -> Self {
        match kind {
            Some(Checksum::GitBlob(_)) => {
                let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
                context.update(format!("blob {bytes}\0").as_bytes());
                Self(context)
            }
            _ => Self(Context::new(&SHA256)),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn hex(self) -> String {
        let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0');
        let digest = self.0.finish();
        digest.as_ref().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first value is FIPS 180's for "abc", the second is what `git hash-object` prints.
    #[test]
    fn known_values() {
        let check = |declared: &str| {
            let checksum = Checksum::parse(declared).unwrap();
            let mut hasher = Hasher::new(Some(&checksum), 3);
            hasher.update(b"a");
            hasher.update(b"bc");
            assert_eq!(hasher.hex(), checksum.hex());
        };
        check("\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"");
        check("f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f");
        for bad in ["", "abc", &"g".repeat(64), "\"1234-5\""] {
            assert_eq!(Checksum::parse(bad), None, "{bad}");
        }
    }
}
