//! A table of numbers that owns no keys: what a number stands for lies elsewhere, and the caller
//! compares. Open addressing; a byte of each hash says nearly always, without a look at the key,
//! that it is another one. Invariant: at most three quarters full, so that a search ends.

/// Numbers by hash.
#[derive(Default)]
pub(crate) struct IdTable {
    /// 0 where the slot is free.
    tags: Vec<u8>,
    ids: Vec<u32>,
}

impl IdTable {
    /// Bytes for each number.
    pub(crate) const COST: usize = 7;

    /// For at most `count` numbers.
    pub(crate) fn with_capacity(count: usize) -> Self {
        let size = count + count / 3 + 1;
        Self { tags: vec![0; size], ids: vec![0; size] }
    }

    /// The number with this hash that `is` the one, or the free slot where it would stand.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Result<u32, usize> {
        let size = self.tags.len();
        let mut at = ((u128::from(hash) * size as u128) >> 64) as usize;
        let wanted = tag(hash);
        loop {
            match self.tags[at] {
                0 => return Err(at),
                tag if tag == wanted && is(self.ids[at]) => return Ok(self.ids[at]),
                _ => {}
            }
            at += 1;
            if at == size {
                at = 0;
            }
        }
    }

    /// Puts a number into the free slot that `find` gave.
    pub(crate) fn put(&mut self, slot: usize, hash: u64, id: u32) {
        (self.tags[slot], self.ids[slot]) = (tag(hash), id);
    }

    /// Every number, in no order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> {
        self.tags.iter().zip(&self.ids).filter(|(tag, _)| **tag != 0).map(|(_, id)| *id)
    }
}

/// The low bits; the high ones choose the slot.
fn tag(hash: u64) -> u8 {
    (hash as u8).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every number is found in a full table, also where all hashes are equal.
    #[test]
    fn full_tables_find_everything() {
        for spread in [0u64, 0x9E37_79B9_7F4A_7C15] {
            let hash = |id: u32| u64::from(id).wrapping_mul(spread);
            let mut table = IdTable::with_capacity(300);
            for id in 0..300 {
                let slot = table.find(hash(id), |other| other == id).unwrap_err();
                table.put(slot, hash(id), id);
            }
            assert!((0..300).all(|id| table.find(hash(id), |other| other == id) == Ok(id)));
            assert!(table.find(hash(300), |other| other == 300).is_err());
            assert_eq!(table.ids().count(), 300);
        }
        assert!(IdTable::with_capacity(0).find(5, |_| true).is_err());
    }
}
