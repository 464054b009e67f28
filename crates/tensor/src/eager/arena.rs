//! Recycled activation buffers behind Copy handles. A handle carries a generation, so that the use
//! of a dead value is a panic in a test and not a wrong number in a conversation.

use crate::aligned::Aligned;

/// A handle on a `[rows, width]` matrix of the current pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EagerValue {
    slot: u32,
    generation: u32,
    rows: u32,
    width: u32,
}

impl EagerValue {
    /// Number of rows.
    pub fn rows(self) -> usize {
        self.rows as usize
    }

    /// Elements per row.
    pub fn width(self) -> usize {
        self.width as usize
    }
}

/// A buffer on its way into the arena.
pub(super) struct Draft {
    data: Aligned<f32>,
    rows: usize,
    width: usize,
}

impl Draft {
    pub(super) fn data_mut(&mut self) -> &mut [f32] {
        self.data.as_mut_slice()
    }

    pub(super) fn rows_mut(&mut self) -> std::slice::ChunksExactMut<'_, f32> {
        self.data.as_mut_slice().chunks_exact_mut(self.width)
    }

    pub(super) fn shape(&self) -> (usize, usize) {
        (self.rows, self.width)
    }
}

#[derive(Default)]
struct Slot {
    data: Aligned<f32>,
    generation: u32,
    live: bool,
}

/// All values of a pass.
#[derive(Default)]
pub(super) struct Arena {
    slots: Vec<Slot>,
    /// Slots with no value.
    vacant: Vec<u32>,
    /// Slots with a value, each with its place in the order in which values were made.
    live: Vec<(u32, u64)>,
    /// How many values were ever made.
    made: u64,
    /// Buffers of dead values.
    spare: Vec<Aligned<f32>>,
}

impl Arena {
    /// A buffer for a new value. Its contents are arbitrary: the caller writes every element.
    pub(super) fn take(&mut self, rows: usize, width: usize) -> Draft {
        let len = rows * width;
        // The smallest spare buffer that is large enough, else the largest, which then grows.
        let best = (0..self.spare.len()).min_by_key(|&index| {
            let capacity = self.spare[index].capacity();
            if capacity >= len { (0, capacity) } else { (1, usize::MAX - capacity) }
        });
        let mut data = best.map(|index| self.spare.swap_remove(index)).unwrap_or_default();
        data.resize(len);
        Draft { data, rows, width }
    }

    /// Makes a written buffer a value.
    pub(super) fn put(&mut self, draft: Draft) -> EagerValue {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let entry = &mut self.slots[slot as usize];
        entry.data = draft.data;
        entry.live = true;
        self.live.push((slot, self.made));
        self.made += 1;
        let (rows, width) = (draft.rows as u32, draft.width as u32);
        EagerValue { slot, generation: entry.generation, rows, width }
    }

    /// A value's elements.
    pub(super) fn read(&self, value: EagerValue) -> &[f32] {
        let slot = &self.slots[value.slot as usize];
        assert!(slot.live && slot.generation == value.generation, "a dead value was read");
        slot.data.as_slice()
    }

    /// A value's elements, to change in place.
    pub(super) fn write(&mut self, value: EagerValue) -> &mut [f32] {
        let slot = &mut self.slots[value.slot as usize];
        assert!(slot.live && slot.generation == value.generation, "a dead value was written");
        slot.data.as_mut_slice()
    }

    /// Takes a value back as a buffer; the handle is dead.
    pub(super) fn consume(&mut self, value: EagerValue) -> Draft {
        self.read(value);
        let data = std::mem::take(&mut self.slots[value.slot as usize].data);
        self.retire(value.slot);
        self.live.retain(|&(slot, _)| slot != value.slot);
        Draft { data, rows: value.rows(), width: value.width() }
    }

    /// Ends a value.
    pub(super) fn free(&mut self, value: EagerValue) {
        let draft = self.consume(value);
        self.spare.push(draft.data);
    }

    /// Where the values made from now on begin.
    pub(super) fn mark(&self) -> u64 {
        self.made
    }

    /// Ends all values made since `mark` except `kept`.
    pub(super) fn release(&mut self, mark: u64, kept: &[EagerValue]) {
        let mut index = 0;
        while let Some(&(slot, made)) = self.live.get(index) {
            if made < mark || kept.iter().any(|value| value.slot == slot) {
                index += 1;
                continue;
            }
            self.live.swap_remove(index);
            let data = std::mem::take(&mut self.slots[slot as usize].data);
            self.spare.push(data);
            self.retire(slot);
        }
    }

    /// Ends all values.
    pub(super) fn clear(&mut self) {
        self.release(0, &[]);
    }

    fn retire(&mut self, slot: u32) {
        let entry = &mut self.slots[slot as usize];
        entry.live = false;
        entry.generation = entry.generation.wrapping_add(1);
        self.vacant.push(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(arena: &mut Arena, fill: f32) -> EagerValue {
        let mut draft = arena.take(2, 3);
        draft.data_mut().fill(fill);
        arena.put(draft)
    }

    #[test]
    fn a_scope_keeps_only_what_it_returns_and_recycles_the_rest() {
        let mut arena = Arena::default();
        let outer = value(&mut arena, 1.0);
        for _ in 0..100 {
            let mark = arena.mark();
            let _lost = value(&mut arena, 2.0);
            let kept = value(&mut arena, 3.0);
            arena.release(mark, &[kept]);
            assert_eq!(arena.read(kept), [3.0; 6]);
            arena.free(kept);
        }
        assert_eq!(arena.read(outer), [1.0; 6]);
        assert!(arena.slots.len() <= 3 && arena.spare.len() <= 2, "buffers pile up");
    }

    #[test]
    fn a_scope_may_consume_what_was_made_outside() {
        let mut arena = Arena::default();
        let outer = value(&mut arena, 1.0);
        let other = value(&mut arena, 4.0);
        let mark = arena.mark();
        let draft = arena.consume(outer);
        let inner = arena.put(draft);
        arena.release(mark, &[]);
        assert_eq!(arena.read(other), [4.0; 6]);
        assert!(!arena.slots[inner.slot as usize].live, "what the scope made ends with it");
    }

    #[test]
    #[should_panic(expected = "dead value")]
    fn a_dead_value_is_caught() {
        let mut arena = Arena::default();
        let first = value(&mut arena, 1.0);
        arena.free(first);
        let _second = value(&mut arena, 2.0);
        arena.read(first);
    }
}
