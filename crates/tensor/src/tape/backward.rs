//! Backward of each recorded operation, the last one first.

use lucid_kernels::Onto;

use super::elementwise::{self, NormRows};
use super::linear::{Machine, Rows, RowsMut, onto, read, read_packed};
use super::parameters::{Orientation, ParameterId};
use super::record::{Gated, Record};
use super::rotary::Direction;
use super::values::{Buffer, ValueId};
use super::{Purpose, Segment, Tape, attention};
use crate::ops::{AttentionSpec, Linear, Norm};

impl Tape {
    /// Adds the gradients of all parameters to what was summed before, from those that
    /// `cross_entropy` made. The values of the pass are dead afterwards.
    ///
    /// # Panics
    /// The pass only evaluates, there was no `cross_entropy`, or somebody has changed the
    /// parameters since the pass began.
    pub fn backward(&mut self) {
        assert_eq!(self.purpose, Purpose::Train, "backward of a pass that only evaluates");
        let version = read(&self.shared).version();
        assert_eq!(version, self.version, "the parameters were changed during a pass");
        self.values.release(0, &[]);
        let (records, mut segments) =
            (std::mem::take(&mut self.records), std::mem::take(&mut self.segments));
        let last = records.last().map(Record::outs);
        let started = last.is_some_and(|mut outs| outs.any(|id| self.values.has_gradient(id)));
        assert!(started, "backward without a loss");
        for (index, record) in records.iter().enumerate().rev() {
            if segments.last().is_some_and(|segment| segment.records.end == index + 1) {
                self.compute_again(&records, &segments[segments.len() - 1]);
            }
            if record.outs().any(|id| self.values.has_gradient(id)) {
                self.reverse(record);
            }
            record.needs().for_each(|id| self.values.unsave(id));
            record.outs().for_each(|id| self.values.end(id));
            let Some(segment) = segments.last() else { continue };
            if segment.records.contains(&index) {
                let outside = |id: &ValueId| id.index() < segment.values;
                record.inputs().filter(outside).for_each(|id| self.values.unsave(id));
            }
            if segment.records.start == index {
                segments.pop();
            }
        }
        (self.records, self.segments) = (records, segments);
        self.records.clear();
        self.segments.clear();
        self.gradients.settle();
    }

    /// Computes what a scope made once more.
    fn compute_again(&mut self, records: &[Record], segment: &Segment) {
        for record in &records[segment.records.clone()] {
            self.forward(record);
            record.needs().for_each(|id| self.values.save(id));
        }
    }

    /// Adds what a record's outputs say to the gradients of its inputs and parameters.
    fn reverse(&mut self, record: &Record) {
        match *record {
            Record::Embed { table, scale, out } => self.embed_back(table, scale, out),
            Record::Linear { x, linear, out } => self.linear_back(x, linear, out),
            Record::Norm { x, norm, width, out } => {
                let Some(dy) = self.values.finish_gradient(out) else { return };
                self.norm_back(x, norm, width, &dy);
                self.values.recycle(dy);
            }
            Record::AddNorm { residual, x, norm, sum, normed, .. } => {
                if let Some(dy) = self.values.finish_gradient(normed) {
                    let (_, width) = self.values.shape(sum);
                    self.norm_back(sum, norm, width, &dy);
                    self.values.recycle(dy);
                }
                let Some(gradient) = self.values.finish_gradient(sum) else { return };
                self.add_moved(x, gradient.share());
                self.add_moved(residual, gradient);
            }
            Record::Rotary { x, head_dim, rotary, out } => {
                let Some(mut gradient) = self.values.finish_own_gradient(out) else { return };
                let heads = gradient.as_mut_slice();
                self.rotate(rotary, Direction::Backward, head_dim, heads);
                self.add_moved(x, gradient);
            }
            Record::Attention { q, k, v, ref spec, out } => self.attention_back(q, k, v, spec, out),
            Record::Gated { x, ref gated, inner, out } => self.gated_back(x, gated, inner, out),
            Record::SoftCap { x, cap, out } => {
                let Some(mut gradient) = self.values.finish_own_gradient(out) else { return };
                let y = self.values.data(out);
                elementwise::soft_cap(self.options.level, y, cap, gradient.as_mut_slice());
                self.add_moved(x, gradient);
            }
        }
    }

    /// Adds to the gradient of a value, which may become the buffer itself.
    fn add_moved(&mut self, id: ValueId, gradient: Buffer) {
        let Some(mut sum) = self.values.finish_own_gradient(id) else {
            return self.values.set_gradient(id, gradient);
        };
        elementwise::add_scaled(self.options.level, gradient.as_slice(), 1.0, sum.as_mut_slice());
        self.values.recycle(gradient);
        self.values.set_gradient(id, sum);
    }

    fn embed_back(&mut self, table: ParameterId, scale: f32, out: ValueId) {
        let Some(dy) = self.values.finish_gradient(out) else { return };
        let block = read(&self.shared).block(table);
        let (level, gradient) = (self.options.level, self.gradients.block_mut(block));
        for (row, dy) in self.pass.rows.iter().zip(dy.as_slice().chunks_exact(block.cols)) {
            let into = &mut gradient[row.token as usize * block.cols..][..block.cols];
            elementwise::add_scaled(level, dy, scale, into);
        }
        self.values.recycle(dy);
    }

    fn linear_back(&mut self, x: ValueId, linear: Linear<ParameterId>, out: ValueId) {
        let Some(dy) = self.values.finish_gradient(out) else { return };
        let block = read(&self.shared).block(linear.weight);
        let (mut dx, exists) = self.values.take_gradient(x);
        let parameters = read_packed(&self.shared, &[block], Orientation::Backward);
        let rows = Rows::dense(dy.as_slice(), block.rows);
        let (level, products) = (self.options.level, self.options.products);
        let team = &self.team;
        let scratch = &mut self.scratch.gemm[..];
        let mut machine = Machine { level, products, team: Some(team), scratch };
        let dx_rows = RowsMut { data: dx.as_mut_slice(), stride: block.cols };
        machine.input_gradient(&parameters, rows, block, onto(exists), dx_rows);
        let x_rows = Rows::dense(self.values.data(x), block.cols);
        machine.weight_gradient(rows, x_rows, self.gradients.product_mut(block));
        if let Some(bias) = linear.bias {
            elementwise::add_rows(level, rows, self.gradients.vector_mut(&parameters, bias));
        }
        drop(parameters);
        self.values.set_gradient(x, dx);
        self.values.recycle(dy);
    }

    fn norm_back(&mut self, x: ValueId, norm: Norm<ParameterId>, width: usize, dy: &Buffer) {
        let (mut dx, exists) = self.values.take_gradient(x);
        let parameters = read(&self.shared);
        let (level, out) = (self.options.level, dx.as_mut_slice());
        let (weight, bias, epsilon) = match norm {
            Norm::Rms { weight, epsilon } => (weight, None, epsilon),
            Norm::Layer { weight, bias, epsilon } => (weight, bias, epsilon),
        };
        let (dweight, dbias) = self.gradients.pair_mut(&parameters, weight, bias);
        let (x_rows, weight) = (self.values.data(x), parameters.vector(weight));
        assert_eq!(weight.len(), width, "the weight of a norm");
        let rows = NormRows { x: x_rows, dy: dy.as_slice(), weight, epsilon };
        match (norm, exists) {
            (Norm::Rms { .. }, true) => elementwise::rms_norm::<true>(level, rows, out, dweight),
            (Norm::Rms { .. }, false) => elementwise::rms_norm::<false>(level, rows, out, dweight),
            (Norm::Layer { .. }, true) => {
                elementwise::layer_norm::<true>(level, rows, out, dweight, dbias);
            }
            (Norm::Layer { .. }, false) => {
                elementwise::layer_norm::<false>(level, rows, out, dweight, dbias);
            }
        }
        drop(parameters);
        self.values.set_gradient(x, dx);
    }

    fn attention_back(
        &mut self,
        q: ValueId,
        k: ValueId,
        v: ValueId,
        spec: &AttentionSpec,
        out: ValueId,
    ) {
        let Some(dout) = self.values.finish_gradient(out) else { return };
        // Written as a whole, and added to what may stand there.
        let mut dq = self.values.take_for(q);
        let [(mut dk, k_exists), (mut dv, v_exists)] = [k, v].map(|id| {
            let (mut gradient, exists) = self.values.take_gradient(id);
            if !exists {
                gradient.as_mut_slice().fill(0.0);
            }
            (gradient, exists)
        });
        let gradients = attention::Gradients {
            dq: dq.as_mut_slice(),
            dk: dk.as_mut_slice(),
            dv: dv.as_mut_slice(),
            fresh: !k_exists && !v_exists,
        };
        let [q_rows, k_rows, v_rows] = [q, k, v].map(|id| self.values.data(id));
        let operands = attention::Operands { spec, q: q_rows, k: k_rows, v: v_rows };
        let machine = attention::Machine {
            level: self.options.level,
            team: &self.team,
            scratch: &mut self.scratch.attention,
        };
        attention::backward(machine, operands, &self.documents, dout.as_slice(), gradients);
        self.add_moved(q, dq);
        self.values.set_gradient(k, dk);
        self.values.set_gradient(v, dv);
        self.values.recycle(dout);
    }

    fn gated_back(&mut self, x: ValueId, gated: &Gated, inner: ValueId, out: ValueId) {
        let Some(dy) = self.values.finish_gradient(out) else { return };
        let (rows, double) = self.values.shape(inner);
        let width = double / 2;
        let (level, products) = (self.options.level, self.options.products);
        let team = &self.team;
        let scratch = &mut self.scratch.gemm[..];
        let mut machine = Machine { level, products, team: Some(team), scratch };

        // The hidden rows' gradient, which then becomes the hidden rows.
        let mut hidden = self.values.take(rows * width);
        let down = read(&self.shared).block(gated.down.weight);
        let parameters = read_packed(&self.shared, &[down], Orientation::Backward);
        let dy_rows = Rows::dense(dy.as_slice(), down.rows);
        let dh = RowsMut { data: hidden.as_mut_slice(), stride: width };
        machine.input_gradient(&parameters, dy_rows, down, Onto::Replace, dh);
        let inner_rows = self.values.data_mut(inner);
        let buffers = [(inner_rows, double), (hidden.as_mut_slice(), width)];
        team.rows(rows, buffers, |_, [inner, dh]| {
            for (inner, dh) in inner.chunks_exact_mut(double).zip(dh.chunks_exact_mut(width)) {
                elementwise::gated(level, gated.activation, inner, dh);
            }
        });
        let hidden_rows = Rows::dense(hidden.as_slice(), width);
        machine.weight_gradient(dy_rows, hidden_rows, self.gradients.product_mut(down));
        if let Some(bias) = gated.down.bias {
            elementwise::add_rows(level, dy_rows, self.gradients.vector_mut(&parameters, bias));
        }
        drop(parameters);
        self.values.recycle(hidden);
        self.values.recycle(dy);

        let parts = gated.parts(&read(&self.shared));
        let (mut dx, mut exists) = self.values.take_gradient(x);
        let parameters = read_packed(&self.shared, parts.blocks(), Orientation::Backward);
        let inner = Rows::dense(self.values.data(inner), double);
        let cols = parts.blocks()[0].cols;
        let x_rows = Rows::dense(self.values.data(x), cols);
        for (block, first) in parts.each() {
            let dy = inner.columns(first, block.rows);
            let out = RowsMut { data: dx.as_mut_slice(), stride: cols };
            machine.input_gradient(&parameters, dy, block, onto(exists), out);
            exists = true;
            machine.weight_gradient(dy, x_rows, self.gradients.product_mut(block));
        }
        for (linear, first) in [(gated.gate, 0), (gated.up, width)] {
            if let Some(bias) = linear.bias {
                let gradient = self.gradients.vector_mut(&parameters, bias);
                elementwise::add_rows(level, inner.columns(first, width), gradient);
            }
        }
        drop(parameters);
        self.values.set_gradient(x, dx);
    }
}
