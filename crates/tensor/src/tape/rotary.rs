//! Rotary embeddings: sines and cosines by position, kept for as long as the tape lives.
//!
//! Backward of a rotation is the rotation by the opposite angle, with the same magnitude.

use lucid_kernels::{self as kernels, Level};

use crate::PassRow;
use crate::ops::RotarySpec;

/// A handle on a bound rotary embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotaryHandle(u32);

/// Which way heads are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Forward,
    Backward,
}

/// The tables of one embedding, each `[positions, pairs]`.
#[derive(Clone)]
struct Table {
    spec: RotarySpec,
    cos: Vec<f32>,
    sin: Vec<f32>,
    /// `-sin`.
    back: Vec<f32>,
}

impl Table {
    /// Adds positions to a table that has those before.
    fn reach(&mut self, from: usize, to: usize) {
        let Self { spec, cos, sin, back } = self;
        let pairs = spec.inverse_frequencies.len();
        cos.resize(to * pairs, 0.0);
        sin.resize(to * pairs, 0.0);
        for position in from..to {
            let at = position * pairs..(position + 1) * pairs;
            let (cos, sin) = (&mut cos[at.clone()], &mut sin[at]);
            let (frequencies, magnitude) = (&spec.inverse_frequencies, spec.magnitude);
            kernels::rotary_table(position as u32, frequencies, magnitude, cos, sin);
        }
        back.extend(sin[from * pairs..].iter().map(|sin| -sin));
    }
}

/// All rotary embeddings of a model.
#[derive(Clone, Default)]
pub(super) struct Rotaries {
    tables: Vec<Table>,
    /// Positions that every table has.
    positions: usize,
}

impl Rotaries {
    pub(super) fn bind(&mut self, spec: RotarySpec) -> RotaryHandle {
        let mut table = Table { spec, cos: Vec::new(), sin: Vec::new(), back: Vec::new() };
        table.reach(0, self.positions);
        self.tables.push(table);
        RotaryHandle(self.tables.len() as u32 - 1)
    }

    /// Makes sure that the tables reach so many positions.
    pub(super) fn reach(&mut self, positions: usize) {
        if positions > self.positions {
            for table in &mut self.tables {
                table.reach(self.positions, positions);
            }
            self.positions = positions;
        }
    }

    /// Rotates the heads of all rows in place.
    pub(super) fn rotate(
        &self,
        level: Level,
        RotaryHandle(index): RotaryHandle,
        direction: Direction,
        rows: &[PassRow],
        head_dim: usize,
        x: &mut [f32],
    ) {
        let Table { spec, cos, sin, back } = &self.tables[index as usize];
        let sin = if direction == Direction::Forward { sin } else { back };
        let pairs = spec.inverse_frequencies.len();
        if rows.is_empty() || pairs == 0 {
            return;
        }
        for (row, heads) in rows.iter().zip(x.chunks_exact_mut(x.len() / rows.len())) {
            let at = row.position as usize * pairs;
            let (cos, sin) = (&cos[at..at + pairs], &sin[at..at + pairs]);
            for head in heads.chunks_exact_mut(head_dim) {
                kernels::rotate(level, head, cos, sin, spec.pairing);
            }
        }
    }
}
