//! Prompt lookup: what followed the last tokens where they stood before will follow again. Source:
//! Saxena, "Prompt Lookup Decoding" (2023), and llama.cpp's `examples/lookup`. Of all earlier
//! places the one that agrees in most tokens is taken, the latest among equals; places are found by
//! their last two tokens, in chains as in Deutsch, RFC 1951, section 4.

use std::collections::HashMap;

use lucid_tensor::TokenId;

/// Tokens by which places are found.
const GRAM: usize = 2;

/// Places that are looked at, the latest first.
const PLACES_MAX: usize = 32;

/// Tokens that are compared at a place, at most.
const MATCH_MAX: usize = 64;

/// Tokens of a text by what they follow.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    /// Where each pair of tokens was followed last.
    latest: HashMap<[TokenId; GRAM], u32>,
    /// For each place from `GRAM` on, where the same pair was followed before.
    earlier: Vec<Option<u32>>,
}

impl Lookup {
    /// Where `tokens` have been as they end now: a place, and how many tokens before it agree. The
    /// tokens are those of the call before, and more.
    pub(super) fn find(&mut self, tokens: &[TokenId]) -> Option<(usize, usize)> {
        self.learn(tokens);
        let gram = tokens.last_chunk::<GRAM>()?;
        let mut best: Option<(usize, usize)> = None;
        let mut next = self.latest.get(gram).copied();
        for _ in 0..PLACES_MAX {
            let Some(place) = next else { break };
            let pairs = tokens[..place as usize].iter().rev().zip(tokens.iter().rev());
            let agree = pairs.take(MATCH_MAX).take_while(|(a, b)| a == b).count();
            if best.is_none_or(|(_, most)| agree > most) {
                best = Some((place as usize, agree));
            }
            next = self.earlier[place as usize - GRAM];
        }
        best
    }

    /// Notes all places that something follows.
    fn learn(&mut self, tokens: &[TokenId]) {
        for place in GRAM + self.earlier.len()..tokens.len() {
            let Some(&gram) = tokens[..place].last_chunk::<GRAM>() else { continue };
            self.earlier.push(self.latest.insert(gram, place as u32));
        }
    }
}

/// The `count` tokens from `place` on; where `tokens` end, they go on as they did from there.
pub(super) fn continuation(tokens: &[TokenId], place: usize, count: usize) -> Vec<TokenId> {
    let period = tokens.len() - place;
    (0..count).map(|step| tokens[place + step % period]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_match_is_found_the_latest_among_equals() {
        let check = |tokens: &[TokenId], expected: Option<(usize, usize)>| {
            assert_eq!(Lookup::default().find(tokens), expected, "{tokens:?}");
            // The same when it comes token by token.
            let mut lookup = Lookup::default();
            let found = (0..=tokens.len()).map(|len| lookup.find(&tokens[..len])).last();
            assert_eq!(found, Some(expected), "{tokens:?}");
        };
        check(&[], None);
        check(&[1, 2], None);
        check(&[1, 2, 3, 2], None);
        check(&[1, 2, 3, 1, 2], Some((2, 2)));
        check(&[9, 1, 2, 3, 8, 1, 2, 4, 9, 1, 2], Some((3, 3)));
        check(&[1, 2, 3, 1, 2, 4, 1, 2], Some((5, 2)));
        check(&[7, 7, 7, 7], Some((3, 3)));
    }

    #[test]
    fn a_place_is_found_by_the_definition() {
        let mut random = 1_u64;
        for _ in 0..300 {
            let mut lookup = Lookup::default();
            let mut tokens: Vec<TokenId> = Vec::new();
            for _ in 0..40 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                tokens.push((random >> 60) as TokenId % 5);
                let agree = |place: usize| {
                    let pairs = tokens[..place].iter().rev().zip(tokens.iter().rev());
                    pairs.take_while(|(a, b)| a == b).count()
                };
                let places = (GRAM..tokens.len()).filter(|&place| agree(place) >= GRAM);
                let expected = places.map(|place| (agree(place), place)).max();
                let found = lookup.find(&tokens);
                assert_eq!(found, expected.map(|(agree, place)| (place, agree)), "{tokens:?}");
            }
        }
    }

    #[test]
    fn what_repeats_goes_on_repeating() {
        let tokens = [5, 1, 2, 3, 1, 2, 3];
        assert_eq!(continuation(&tokens, 4, 7), [1, 2, 3, 1, 2, 3, 1]);
        assert_eq!(continuation(&tokens, 6, 3), [3, 3, 3]);
        assert_eq!(continuation(&tokens, 2, 2), [2, 3]);
    }
}
