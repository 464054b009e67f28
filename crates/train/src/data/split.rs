//! Which documents are held out for validation. It depends on a document's content and the seed
//! alone: duplicates are on the same side, and adding documents moves none.

use crate::random::first_u64;

/// A side of the split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Trained on.
    Training,
    /// Measured with.
    Validation,
}

/// The side of a document with this [`content_hash`](super::content_hash); `held_out` is the share
/// of documents for validation.
pub fn side(content: &[u8; 32], seed: u64, held_out: f64) -> Side {
    let mut hasher = blake3::Hasher::new_derive_key("lucid held-out split 1");
    hasher.update(&seed.to_le_bytes()).update(content);
    let place = first_u64(hasher.finalize().as_bytes()) >> 11;
    // 53 bits, so that the comparison is exact.
    let below = (place as f64) < held_out * (1_u64 << 53) as f64;
    if below { Side::Validation } else { Side::Training }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::content_hash;

    #[test]
    fn a_share_is_held_out_by_content_and_seed() {
        let hash = |number: u32| content_hash(&format!("document {number}"));
        let held = |seed, share| {
            let held = |number: &u32| side(&hash(*number), seed, share) == Side::Validation;
            (0..5000).filter(held).collect::<Vec<u32>>()
        };
        let tenth = held(1, 0.1);
        assert!((400..600).contains(&tenth.len()), "{}", tenth.len());
        assert_eq!(tenth, held(1, 0.1));
        assert_ne!(tenth, held(2, 0.1));
        // A larger share holds out the same ones and more.
        assert!(tenth.iter().all(|number| held(1, 0.2).contains(number)));
        assert_eq!((held(1, 0.0).len(), held(1, 1.0).len()), (0, 5000));
    }
}
