//! The activations of a pass and their gradients, in recycled buffers.
//!
//! A value's elements live as long as its handle may be used (`live`) or a recorded operation will
//! read them in backward (`saved`). Buffers are handed out by exact length, so a pass of the same
//! shape as the one before finds every buffer that it needs: nothing is allocated once warm. A pass
//! with another number of rows gives the buffers back to the system first.
//!
//! Gradients may share a buffer: a sum hands its own on to all of its terms. Whoever adds to one
//! that is shared gets a copy.

use std::sync::Arc;

use crate::aligned::Aligned;

/// A buffer of f32 that starts at a cache line, and that others may read as well.
pub(super) struct Buffer(Arc<Aligned<f32>>);

impl Buffer {
    fn zeroed(len: usize) -> Self {
        Self(Arc::new(Aligned::zeroed(len)))
    }

    pub(super) fn as_slice(&self) -> &[f32] {
        self.0.as_slice()
    }

    /// # Panics
    /// It is shared.
    pub(super) fn as_mut_slice(&mut self) -> &mut [f32] {
        let own = Arc::get_mut(&mut self.0);
        own.expect("a buffer that is changed is nobody else's").as_mut_slice()
    }

    /// The same buffer once more, to be read.
    pub(super) fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// A handle on a `[rows, width]` matrix of the current pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapeValue {
    pub(super) id: ValueId,
    pass: u32,
    rows: u32,
    width: u32,
    pub(super) kind: Kind,
}

impl TapeValue {
    /// Number of rows.
    pub fn rows(self) -> usize {
        self.rows as usize
    }

    /// Elements per row.
    pub fn width(self) -> usize {
        self.width as usize
    }

    /// The same rows, those of which logits are wanted.
    pub(super) fn scored(self) -> Self {
        Self { kind: Kind::Scored, ..self }
    }
}

/// What a handle stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Elements in memory.
    Plain,
    /// The same, of which the head's projection makes logits.
    Scored,
    /// Logits, which are never in memory as a whole: the head's input is.
    Logits,
}

/// The place of a value in the order in which values were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ValueId(u32);

impl ValueId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Default)]
struct Entry {
    data: Option<Buffer>,
    gradient: Option<Buffer>,
    rows: usize,
    width: usize,
    /// Recorded operations that will read the elements.
    saved: u32,
    /// Whether a handle may still be used.
    live: bool,
}

/// All values of a pass.
#[derive(Default)]
pub(super) struct Values {
    entries: Vec<Entry>,
    spare: Vec<Buffer>,
    pass: u32,
    rows: usize,
}

impl Values {
    /// Ends all values.
    pub(super) fn begin(&mut self, rows: usize) {
        for entry in self.entries.drain(..) {
            let buffers = entry.data.into_iter().chain(entry.gradient);
            self.spare.extend(buffers.filter(|buffer| !buffer.is_shared()));
        }
        if std::mem::replace(&mut self.rows, rows) != rows {
            self.spare.clear();
        }
        self.pass = self.pass.wrapping_add(1);
    }

    /// A buffer of arbitrary contents.
    pub(super) fn take(&mut self, len: usize) -> Buffer {
        let found = self.spare.iter().rposition(|buffer| buffer.as_slice().len() == len);
        found.map_or_else(|| Buffer::zeroed(len), |index| self.spare.swap_remove(index))
    }

    /// Gives a buffer back, unless somebody else has it still.
    pub(super) fn recycle(&mut self, buffer: Buffer) {
        if !buffer.is_shared() {
            self.spare.push(buffer);
        }
    }

    /// A buffer to change: itself, or a copy if somebody else has it too.
    fn own(&mut self, buffer: Buffer) -> Buffer {
        if !buffer.is_shared() {
            return buffer;
        }
        let mut copy = self.take(buffer.as_slice().len());
        copy.as_mut_slice().copy_from_slice(buffer.as_slice());
        copy
    }

    /// A new value without elements.
    pub(super) fn add(&mut self, rows: usize, width: usize, kind: Kind) -> TapeValue {
        let id = ValueId(self.entries.len() as u32);
        self.entries.push(Entry { rows, width, live: true, ..Entry::default() });
        TapeValue { id, pass: self.pass, rows: rows as u32, width: width as u32, kind }
    }

    /// A buffer for a value's elements.
    pub(super) fn take_for(&mut self, id: ValueId) -> Buffer {
        let (rows, width) = self.shape(id);
        self.take(rows * width)
    }

    /// Gives a value its elements.
    pub(super) fn set(&mut self, id: ValueId, data: Buffer) {
        let old = self.entry_mut(id).data.replace(data);
        self.spare.extend(old);
    }

    pub(super) fn shape(&self, id: ValueId) -> (usize, usize) {
        let entry = &self.entries[id.0 as usize];
        (entry.rows, entry.width)
    }

    /// Checks that a handle is of this pass and what it is a handle on.
    pub(super) fn check(&self, value: TapeValue, kind: Kind) -> ValueId {
        assert_eq!(value.pass, self.pass, "a value of an earlier pass");
        let plain = value.kind == Kind::Scored && kind == Kind::Plain;
        assert!(value.kind == kind || plain, "{:?} stands where {kind:?} is needed", value.kind);
        let live = value.kind == Kind::Logits || self.entries[value.id.0 as usize].live;
        assert!(live, "a dead value was used");
        value.id
    }

    /// A value's elements, `[rows, width]`.
    pub(super) fn data(&self, id: ValueId) -> &[f32] {
        let data = self.entries[id.0 as usize].data.as_ref();
        data.expect("a value that is needed has elements").as_slice()
    }

    pub(super) fn data_mut(&mut self, id: ValueId) -> &mut [f32] {
        let data = self.entry_mut(id).data.as_mut();
        data.expect("a value that is needed has elements").as_mut_slice()
    }

    /// Ends a handle and takes the elements, to change in place: themselves where nothing else
    /// reads them, else a copy.
    pub(super) fn consume(&mut self, id: ValueId) -> Buffer {
        let entry = self.entry_mut(id);
        entry.live = false;
        if entry.saved == 0 {
            return entry.data.take().expect("a value that is needed has elements");
        }
        let mut copy = self.take_for(id);
        copy.as_mut_slice().copy_from_slice(self.data(id));
        copy
    }

    /// One more operation will read the elements.
    pub(super) fn save(&mut self, id: ValueId) {
        self.entry_mut(id).saved += 1;
    }

    /// One of these operations has.
    pub(super) fn unsave(&mut self, id: ValueId) {
        self.entry_mut(id).saved -= 1;
        self.settle(id);
    }

    /// How many values there are.
    pub(super) fn mark(&self) -> usize {
        self.entries.len()
    }

    /// Ends the handles made since `mark` except `kept`.
    pub(super) fn release(&mut self, mark: usize, kept: &[TapeValue]) {
        for id in (mark as u32..self.entries.len() as u32).map(ValueId) {
            if !kept.iter().any(|value| value.id == id) {
                self.end(id);
            }
        }
    }

    /// Ends a handle.
    pub(super) fn end(&mut self, id: ValueId) {
        self.entry_mut(id).live = false;
        self.settle(id);
    }

    /// The gradient of a value and whether there is one already; else a buffer of arbitrary
    /// contents for it.
    pub(super) fn take_gradient(&mut self, id: ValueId) -> (Buffer, bool) {
        match self.finish_own_gradient(id) {
            Some(gradient) => (gradient, true),
            None => (self.take_for(id), false),
        }
    }

    /// The gradient of a value, if something was made of it, to be read.
    pub(super) fn finish_gradient(&mut self, id: ValueId) -> Option<Buffer> {
        self.entry_mut(id).gradient.take()
    }

    /// The same, to be changed.
    pub(super) fn finish_own_gradient(&mut self, id: ValueId) -> Option<Buffer> {
        let gradient = self.finish_gradient(id)?;
        Some(self.own(gradient))
    }

    pub(super) fn has_gradient(&self, id: ValueId) -> bool {
        self.entries[id.0 as usize].gradient.is_some()
    }

    pub(super) fn set_gradient(&mut self, id: ValueId, gradient: Buffer) {
        let old = self.entry_mut(id).gradient.replace(gradient);
        assert!(old.is_none(), "a gradient was lost");
    }

    fn entry_mut(&mut self, id: ValueId) -> &mut Entry {
        &mut self.entries[id.0 as usize]
    }

    /// Takes the elements back once nobody wants them.
    fn settle(&mut self, id: ValueId) {
        let entry = &mut self.entries[id.0 as usize];
        if entry.saved == 0 && !entry.live {
            self.spare.extend(entry.data.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(values: &mut Values, fill: f32) -> TapeValue {
        let value = values.add(2, 3, Kind::Plain);
        let mut data = values.take_for(value.id);
        data.as_mut_slice().fill(fill);
        values.set(value.id, data);
        value
    }

    #[test]
    fn elements_live_while_somebody_wants_them() {
        let mut values = Values::default();
        values.begin(2);
        let (kept, saved) = (value(&mut values, 1.0), value(&mut values, 2.0));
        values.save(saved.id);
        let lost = value(&mut values, 3.0);
        values.release(0, &[kept]);
        assert!(values.entries[lost.id.0 as usize].data.is_none());
        assert_eq!(values.data(kept.id), [1.0; 6]);
        assert_eq!(values.data(saved.id), [2.0; 6]);
        values.unsave(saved.id);
        assert!(values.entries[saved.id.0 as usize].data.is_none());
        assert_eq!(values.spare.len(), 2);
    }

    #[test]
    fn what_is_saved_is_consumed_as_a_copy() {
        let mut values = Values::default();
        values.begin(2);
        let (alone, saved) = (value(&mut values, 1.0), value(&mut values, 2.0));
        values.save(saved.id);
        let at = values.data(alone.id).as_ptr();
        assert_eq!(values.consume(alone.id).as_slice().as_ptr(), at);
        let mut copy = values.consume(saved.id);
        copy.as_mut_slice().fill(0.0);
        assert_eq!(values.data(saved.id), [2.0; 6]);
    }

    #[test]
    fn who_adds_to_a_shared_gradient_gets_a_copy() {
        let mut values = Values::default();
        values.begin(2);
        let (a, b) = (value(&mut values, 1.0), value(&mut values, 2.0));
        let mut gradient = values.take_for(a.id);
        gradient.as_mut_slice().fill(5.0);
        values.set_gradient(a.id, gradient.share());
        values.set_gradient(b.id, gradient);
        let (mut sum, exists) = values.take_gradient(a.id);
        assert!(exists);
        sum.as_mut_slice().fill(6.0);
        values.recycle(sum);
        let rest = values.finish_gradient(b.id).unwrap();
        assert_eq!(rest.as_slice(), [5.0; 6]);
        // The last one that has it gets itself, and gives it back.
        let at = rest.as_slice().as_ptr();
        values.set_gradient(b.id, rest);
        let own = values.finish_own_gradient(b.id).unwrap();
        assert_eq!(own.as_slice().as_ptr(), at);
        let spare = values.spare.len();
        values.recycle(own.share());
        assert_eq!(values.spare.len(), spare);
        values.recycle(own);
        assert_eq!(values.spare.len(), spare + 1);
    }

    #[test]
    #[should_panic(expected = "earlier pass")]
    fn a_value_of_an_earlier_pass_is_caught() {
        let mut values = Values::default();
        values.begin(2);
        let old = value(&mut values, 1.0);
        values.begin(2);
        values.check(old, Kind::Plain);
    }
}
