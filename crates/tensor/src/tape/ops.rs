//! `Ops` for `Tape`: each operation makes its values, is computed, and is remembered.

use super::linear::read;
use super::parameters::ParameterId;
use super::record::{Gated, Record};
use super::rotary::RotaryHandle;
use super::values::{Kind, TapeValue, ValueId};
use super::{Purpose, Recompute, Segment, Tape};
use crate::ops::{Activation, AttentionSpec, Linear, Norm, Ops, RotarySpec, Site};
use crate::{TensorError, TensorView};

impl Tape {
    /// Whether what the open scope makes will be computed again.
    fn drops(&self) -> bool {
        let recompute = self.options.recompute == Recompute::Scopes && self.hook.is_none();
        recompute && self.purpose == Purpose::Train && self.depth > 0
    }

    /// Computes an operation and remembers it.
    fn run(&mut self, record: Record) {
        let drops = self.drops();
        if drops {
            // What comes from outside has to be there when the scope is computed again.
            for id in record.inputs().filter(|id| id.index() < self.scope_values) {
                self.values.save(id);
            }
        }
        self.forward(&record);
        if self.purpose == Purpose::Train {
            if !drops {
                record.needs().for_each(|id| self.values.save(id));
            }
            self.records.push(record);
        }
    }

    fn plain(&self, value: TapeValue) -> ValueId {
        self.values.check(value, Kind::Plain)
    }

    /// A value as wide as another.
    fn alike(&mut self, x: TapeValue) -> TapeValue {
        self.values.add(x.rows(), x.width(), Kind::Plain)
    }
}

impl Ops for Tape {
    type Value = TapeValue;
    type Weight = ParameterId;
    type Rotary = RotaryHandle;

    /// Takes a parameter of any float format; its master is f32. Lanes see it as well.
    fn bind(&mut self, view: &TensorView) -> Result<ParameterId, TensorError> {
        self.parameters_mut().bind(view)
    }

    /// Lanes that were made before do not have it.
    fn bind_rotary(&mut self, spec: RotarySpec) -> RotaryHandle {
        self.rotaries.bind(spec)
    }

    fn embed(&mut self, table: ParameterId, scale: f32) -> TapeValue {
        let width = read(&self.shared).block(table).cols;
        let out = self.values.add(self.pass.rows.len(), width, Kind::Plain);
        self.run(Record::Embed { table, scale, out: out.id });
        out
    }

    fn linear<const N: usize>(
        &mut self,
        x: TapeValue,
        weights: [Linear<ParameterId>; N],
    ) -> [TapeValue; N] {
        if let (Kind::Scored, [linear]) = (x.kind, weights.as_slice()) {
            let logits = self.set_head(x, *linear);
            return [logits; N];
        }
        let input = self.plain(x);
        weights.map(|linear| {
            let width = read(&self.shared).block(linear.weight).rows;
            let out = self.values.add(x.rows(), width, Kind::Plain);
            self.run(Record::Linear { x: input, linear, out: out.id });
            out
        })
    }

    fn norm(&mut self, x: TapeValue, norm: Norm<ParameterId>) -> TapeValue {
        let (input, out) = (self.plain(x), self.alike(x));
        self.run(Record::Norm { x: input, norm, width: x.width(), out: out.id });
        out
    }

    fn add_norm(
        &mut self,
        site: Site,
        residual: TapeValue,
        x: TapeValue,
        norm: Norm<ParameterId>,
    ) -> (TapeValue, TapeValue) {
        let (sum, normed) = (self.alike(x), self.alike(x));
        self.run(Record::AddNorm {
            site,
            residual: self.plain(residual),
            x: self.plain(x),
            norm,
            sum: sum.id,
            normed: normed.id,
        });
        (sum, normed)
    }

    fn head_norm(&mut self, x: TapeValue, head_dim: usize, norm: Norm<ParameterId>) -> TapeValue {
        let (input, out) = (self.plain(x), self.alike(x));
        self.run(Record::Norm { x: input, norm, width: head_dim, out: out.id });
        self.values.end(input);
        out
    }

    fn rotary(&mut self, x: TapeValue, head_dim: usize, rotary: RotaryHandle) -> TapeValue {
        let (input, out) = (self.plain(x), self.alike(x));
        self.run(Record::Rotary { x: input, head_dim, rotary, out: out.id });
        out
    }

    fn attention(
        &mut self,
        _: usize,
        q: TapeValue,
        k: TapeValue,
        v: TapeValue,
        spec: &AttentionSpec,
    ) -> TapeValue {
        let out = self.values.add(q.rows(), spec.head_count * spec.value_dim, Kind::Plain);
        let [q, k, v] = [q, k, v].map(|value| self.plain(value));
        self.run(Record::Attention { q, k, v, spec: *spec, out: out.id });
        out
    }

    fn gated_mlp(
        &mut self,
        x: TapeValue,
        gate: Linear<ParameterId>,
        up: Linear<ParameterId>,
        down: Linear<ParameterId>,
        activation: Activation,
    ) -> TapeValue {
        let parameters = read(&self.shared);
        let width = parameters.block(gate.weight).rows;
        let out_width = parameters.block(down.weight).rows;
        drop(parameters);
        let inner = self.values.add(x.rows(), 2 * width, Kind::Plain).id;
        let out = self.values.add(x.rows(), out_width, Kind::Plain);
        let (x, gated) = (self.plain(x), Gated { gate, up, down, activation });
        self.run(Record::Gated { x, gated, inner, out: out.id });
        self.values.end(inner);
        out
    }

    fn soft_cap(&mut self, x: TapeValue, cap: f32) -> TapeValue {
        if x.kind == Kind::Logits {
            self.set_head_cap(x, cap);
            return x;
        }
        let (input, out) = (self.plain(x), self.alike(x));
        self.run(Record::SoftCap { x: input, cap, out: out.id });
        out
    }

    /// All rows: losses say by their weights which ones matter.
    fn select_outputs(&mut self, x: TapeValue) -> TapeValue {
        x
    }

    /// The same rows; a projection of them is not computed, but waits for the losses.
    fn select_scored(&mut self, x: TapeValue) -> TapeValue {
        self.plain(x);
        x.scored()
    }

    fn narrow_to_outputs(&mut self, x: TapeValue) -> TapeValue {
        x
    }

    fn probe(&mut self, site: Site, x: TapeValue) -> TapeValue {
        let id = self.plain(x);
        self.show(site, id);
        x
    }

    fn scope<const N: usize>(
        &mut self,
        body: impl FnOnce(&mut Self) -> [TapeValue; N],
    ) -> [TapeValue; N] {
        let (mark, first) = (self.values.mark(), self.records.len());
        if self.depth == 0 {
            self.scope_values = mark;
        }
        self.depth += 1;
        let kept = body(self);
        self.values.release(mark, &kept);
        let outermost = self.depth == 1;
        if outermost && self.drops() {
            let records = first..self.records.len();
            self.segments.push(Segment { records, values: mark });
        }
        self.depth -= 1;
        kept
    }
}
