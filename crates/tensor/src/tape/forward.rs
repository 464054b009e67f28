//! How each recorded operation is computed: when it is recorded, and again when backward reaches a
//! scope whose values were not kept.

use lucid_kernels::{self as kernels, Level, Products};

use super::linear::{Machine, Rows, RowsMut, read, read_packed};
use super::parameters::{Block, Orientation, ParameterId, Parameters};
use super::record::{Gated, Record};
use super::rotary::{Direction, RotaryHandle};
use super::values::ValueId;
use super::{Tape, attention, elementwise};
use crate::ops::{Activation, AttentionSpec, Linear, Norm};

impl Tape {
    /// Gives the record's values their elements.
    pub(super) fn forward(&mut self, record: &Record) {
        match *record {
            Record::Embed { table, scale, out } => self.embed_rows(table, scale, out),
            Record::Linear { x, linear, out } => self.project(x, linear, out),
            Record::Norm { x, norm, width, out } => self.norm_rows(x, norm, width, out),
            Record::AddNorm { site, residual, x, norm, sum, normed } => {
                self.add_rows(residual, x, sum);
                self.show(site, sum);
                let (_, width) = self.values.shape(sum);
                self.norm_rows(sum, norm, width, normed);
            }
            Record::Rotary { x, head_dim, rotary, out } => {
                let mut data = self.values.consume(x);
                self.rotate(rotary, Direction::Forward, head_dim, data.as_mut_slice());
                self.values.set(out, data);
            }
            Record::Attention { q, k, v, ref spec, out } => self.attend([q, k, v], spec, out),
            Record::Gated { x, ref gated, inner, out } => self.feed_forward(x, gated, inner, out),
            Record::SoftCap { x, cap, out } => {
                let mut data = self.values.consume(x);
                kernels::soft_cap(self.options.level, data.as_mut_slice(), cap);
                self.values.set(out, data);
            }
        }
    }

    /// Rotates the heads of all rows in place.
    pub(super) fn rotate(
        &self,
        rotary: RotaryHandle,
        direction: Direction,
        head_dim: usize,
        x: &mut [f32],
    ) {
        let (level, all, rotaries) = (self.options.level, &self.pass.rows, &self.rotaries);
        let width = x.len() / all.len().max(1);
        self.team.rows(all.len(), [(x, width)], |rows, [x]| {
            rotaries.rotate(level, rotary, direction, &all[rows], head_dim, x);
        });
    }

    fn embed_rows(&mut self, table: ParameterId, scale: f32, out: ValueId) {
        let mut data = self.values.take_for(out);
        let parameters = read(&self.shared);
        let (level, width) = (self.options.level, parameters.block(table).cols);
        let values = parameters.values(table);
        for (row, out) in self.pass.rows.iter().zip(data.as_mut_slice().chunks_exact_mut(width)) {
            out.copy_from_slice(&values[row.token as usize * width..][..width]);
        }
        if self.options.products == Products::Bf16 {
            elementwise::round_to_bf16(level, data.as_mut_slice());
        }
        if scale != 1.0 {
            kernels::scale(level, data.as_mut_slice(), scale);
        }
        drop(parameters);
        self.values.set(out, data);
    }

    fn project(&mut self, x: ValueId, linear: Linear<ParameterId>, out: ValueId) {
        let mut data = self.values.take_for(out);
        let block = read(&self.shared).block(linear.weight);
        let parameters = read_packed(&self.shared, &[block], Orientation::Forward);
        let bias = linear.bias.map(|bias| parameters.vector(bias));
        let x = Rows::dense(self.values.data(x), block.cols);
        let out_rows = RowsMut { data: data.as_mut_slice(), stride: block.rows };
        let (level, products) = (self.options.level, self.options.products);
        let team = &self.team;
        let scratch = &mut self.scratch.gemm[..];
        let mut machine = Machine { level, products, team: Some(team), scratch };
        machine.project(&parameters, x, block, bias, out_rows);
        drop(parameters);
        self.values.set(out, data);
    }

    fn norm_rows(&mut self, x: ValueId, norm: Norm<ParameterId>, width: usize, out: ValueId) {
        let mut data = self.values.take_for(out);
        let shared = read(&self.shared);
        let (level, x, parameters) = (self.options.level, self.values.data(x), &*shared);
        self.team.rows(x.len() / width, [(data.as_mut_slice(), width)], |rows, [out]| {
            let x = x[rows.start * width..].chunks_exact(width);
            for (x, out) in x.zip(out.chunks_exact_mut(width)) {
                norm_row(level, parameters, norm, x, out);
            }
        });
        drop(shared);
        self.values.set(out, data);
    }

    fn add_rows(&mut self, a: ValueId, b: ValueId, out: ValueId) {
        let mut data = self.values.take_for(out);
        let (rows, width) = self.values.shape(out);
        let (level, a, b) = (self.options.level, self.values.data(a), self.values.data(b));
        self.team.rows(rows, [(data.as_mut_slice(), width)], |rows, [out]| {
            let part = rows.start * width..rows.end * width;
            kernels::add(level, &a[part.clone()], &b[part], out);
        });
        self.values.set(out, data);
    }

    fn attend(&mut self, [q, k, v]: [ValueId; 3], spec: &AttentionSpec, out: ValueId) {
        let mut data = self.values.take_for(out);
        let [q, k, v] = [q, k, v].map(|id| self.values.data(id));
        let operands = attention::Operands { spec, q, k, v };
        let machine = attention::Machine {
            level: self.options.level,
            team: &self.team,
            scratch: &mut self.scratch.attention,
        };
        let documents = &self.documents;
        attention::forward(machine, self.options.kv, operands, documents, data.as_mut_slice());
        self.values.set(out, data);
    }

    fn feed_forward(&mut self, x: ValueId, gated: &Gated, inner: ValueId, out: ValueId) {
        let (rows, double) = self.values.shape(inner);
        let width = double / 2;
        let mut data = self.values.take_for(inner);
        let mut hidden = self.values.take(rows * width);
        let mut result = self.values.take_for(out);
        let (level, products) = (self.options.level, self.options.products);
        let team = &self.team;
        let scratch = &mut self.scratch.gemm[..];
        let mut machine = Machine { level, products, team: Some(team), scratch };

        let parts = gated.parts(&read(&self.shared));
        let parameters = read_packed(&self.shared, parts.blocks(), Orientation::Forward);
        let x = Rows::dense(self.values.data(x), parts.blocks()[0].cols);
        for (block, first) in parts.each() {
            let out = RowsMut { data: &mut data.as_mut_slice()[first..], stride: double };
            machine.project(&parameters, x, block, None, out);
        }
        for (linear, first) in [(gated.gate, 0), (gated.up, width)] {
            if let Some(bias) = linear.bias {
                let data = &mut data.as_mut_slice()[first..];
                elementwise::add_bias(level, parameters.vector(bias), data, double, rows);
            }
        }
        let inner_rows = data.as_slice();
        team.rows(rows, [(hidden.as_mut_slice(), width)], |rows, [hidden]| {
            let each = inner_rows[rows.start * double..].chunks_exact(double);
            for (inner, hidden) in each.zip(hidden.chunks_exact_mut(width)) {
                let (gate, up) = inner.split_at(width);
                match gated.activation {
                    Activation::Silu => kernels::silu_product(level, gate, up, hidden),
                    Activation::GeluTanh => kernels::gelu_tanh_product(level, gate, up, hidden),
                }
            }
        });
        let down = parameters.block(gated.down.weight);
        drop(parameters);
        let parameters = read_packed(&self.shared, &[down], Orientation::Forward);
        let bias = gated.down.bias.map(|bias| parameters.vector(bias));
        let out_rows = RowsMut { data: result.as_mut_slice(), stride: down.rows };
        machine.project(&parameters, Rows::dense(hidden.as_slice(), width), down, bias, out_rows);
        drop(parameters);
        self.values.recycle(hidden);
        self.values.set(inner, data);
        self.values.set(out, result);
    }
}

/// The matrices of gate and up: as one where they lie so, else each by itself.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    blocks: [Block; 2],
    count: usize,
}

impl Parts {
    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks[..self.count]
    }

    /// Each with its first column in the product.
    pub(super) fn each(&self) -> impl Iterator<Item = (Block, usize)> + use<> {
        let [a, b] = self.blocks;
        [(a, 0), (b, a.rows)].into_iter().take(self.count)
    }
}

impl Gated {
    pub(super) fn parts(&self, parameters: &Parameters) -> Parts {
        let (gate, up) = (self.gate.weight, self.up.weight);
        match parameters.joined(gate, up) {
            Some(both) => Parts { blocks: [both, both], count: 1 },
            None => Parts { blocks: [parameters.block(gate), parameters.block(up)], count: 2 },
        }
    }
}

fn norm_row(
    level: Level,
    parameters: &Parameters,
    norm: Norm<ParameterId>,
    x: &[f32],
    out: &mut [f32],
) {
    match norm {
        Norm::Rms { weight, epsilon } => {
            kernels::rms_norm(level, x, Some(parameters.vector(weight)), epsilon, out);
        }
        Norm::Layer { weight, bias, epsilon } => {
            let bias = bias.map(|bias| parameters.vector(bias));
            kernels::layer_norm(level, x, parameters.vector(weight), bias, epsilon, out);
        }
    }
}
