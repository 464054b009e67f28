//! Small networks around one operation, and their gradients by finite differences.
//!
//! A derivative is taken from four points, `(8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h`, which
//! leaves an error of order h^4 and so allows a step that is large beside the rounding of f32: the
//! rows' losses are good to some 3e-7 each, so the sum of ten to 1e-6, and with h = 1/64 the
//! derivative to about 1e-4. What is compared may differ by `ABSOLUTE + RELATIVE * |derivative|`;
//! the tests see to it that derivatives are much larger than `ABSOLUTE`.

use lucid_sys::Bytes;
use lucid_tensor::{
    DType, KvDType, Level, Ops, ParameterId, PassRow, Products, Purpose, Recompute, Tape,
    TapeOptions, TapeValue, TensorView, TokenId,
};

const STEP: f32 = 1.0 / 64.0;
const ABSOLUTE: f64 = 4e-4;
const RELATIVE: f64 = 4e-3;

/// Rows of the token embedding of these networks.
pub(crate) const VOCABULARY: usize = 7;

pub(crate) const OPTIONS: TapeOptions = TapeOptions {
    level: Level::Scalar,
    products: Products::F32,
    kv: KvDType::F32,
    recompute: Recompute::Nothing,
};

/// Numbers from -1 to 1.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn view(&mut self, name: &str, shape: &[usize], centre: f32) -> TensorView {
        let count = shape.iter().product();
        let values = std::iter::repeat_with(|| centre + self.next()).take(count);
        let data: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        let (name, shape) = (name.to_owned(), shape.to_vec());
        TensorView { name, dtype: DType::F32, shape, data: Bytes::from(data), offset: 0 }
    }
}

/// A micro-batch.
pub(crate) struct Batch {
    pub(crate) rows: Vec<PassRow>,
    pub(crate) targets: Vec<TokenId>,
    pub(crate) weights: Vec<f32>,
}

impl Batch {
    /// Documents of these lengths.
    pub(crate) fn new(lengths: &[usize]) -> Self {
        let mut random = Random(5);
        let mut token = || ((random.next() + 1.0) * 1e6) as u32 % VOCABULARY as u32;
        let mut rows = Vec::new();
        for (sequence, &length) in lengths.iter().enumerate() {
            let row = |position| PassRow { token: token(), position, sequence: sequence as u32 };
            rows.extend((0..length as u32).map(row));
        }
        let targets = rows.iter().map(|_| token()).collect();
        let weights = (0..rows.len()).map(|row| [1.0, 0.5, -0.75, 0.0, 1.5][row % 5]).collect();
        Self { rows, targets, weights }
    }
}

/// A network: its parameters, and how a pass makes logits of them.
pub(crate) struct Network<F> {
    pub(crate) tape: Tape,
    pub(crate) ids: Vec<ParameterId>,
    pub(crate) forward: F,
}

impl<F: Fn(&mut Tape, &[ParameterId]) -> TapeValue> Network<F> {
    /// Binds random parameters of these shapes; the numbers of a vector lie around `centre`.
    pub(crate) fn new(options: TapeOptions, shapes: &[&[usize]], centre: f32, forward: F) -> Self {
        let mut tape = Tape::new(options);
        let mut random = Random(1);
        let bind = |(index, shape): (usize, &&[usize])| {
            let centre = if shape.len() == 1 { centre } else { 0.0 };
            tape.bind(&random.view(&format!("p{index}"), shape, centre)).expect("floats")
        };
        let ids = shapes.iter().enumerate().map(bind).collect();
        Self { tape, ids, forward }
    }

    pub(crate) fn loss(&mut self, batch: &Batch) -> f64 {
        self.tape.begin(&batch.rows, Purpose::Evaluate);
        let logits = (self.forward)(&mut self.tape, &self.ids);
        let losses = self.tape.losses(logits, &batch.targets, &batch.weights);
        let each = losses.iter().zip(&batch.weights);
        each.map(|(loss, weight)| f64::from(*loss) * f64::from(*weight)).sum()
    }

    /// Losses and all gradients, in the order of binding.
    pub(crate) fn train(&mut self, batch: &Batch) -> (Vec<f32>, Vec<Vec<f32>>) {
        self.tape.begin(&batch.rows, Purpose::Train);
        let logits = (self.forward)(&mut self.tape, &self.ids);
        let losses = self.tape.cross_entropy(logits, &batch.targets, &batch.weights).to_vec();
        self.tape.backward();
        (losses, self.ids.iter().map(|id| self.tape.gradients(*id).to_vec()).collect())
    }

    fn loss_at(&mut self, id: ParameterId, element: usize, value: f32, batch: &Batch) -> f64 {
        let mut parameters = self.tape.parameters_mut();
        parameters.values_mut(id)[element] = value;
        parameters.repack(&lucid_sys::ThreadPool::new(1));
        drop(parameters);
        self.loss(batch)
    }

    /// Compares the gradients of all parameters, number by number.
    pub(crate) fn check(mut self, batch: &Batch) {
        let (_, gradients) = self.train(batch);
        for (id, gradient) in self.ids.clone().into_iter().zip(gradients) {
            let mut largest = 0.0f64;
            for (element, &found) in gradient.iter().enumerate() {
                let at = self.tape.parameters().values(id)[element];
                let mut f = |steps: f32| self.loss_at(id, element, at + steps * STEP, batch);
                let near = f(1.0) - f(-1.0);
                let want = (8.0 * near - (f(2.0) - f(-2.0))) / (12.0 * f64::from(STEP));
                self.loss_at(id, element, at, batch);
                let error = (f64::from(found) - want).abs();
                let name = self.tape.parameters().name(id).to_owned();
                assert!(
                    error <= ABSOLUTE + RELATIVE * want.abs(),
                    "{name}[{element}]: {found} by backward, {want} by differences"
                );
                largest = largest.max(want.abs());
            }
            assert!(largest > 20.0 * ABSOLUTE, "a gradient that says nothing: {largest}");
        }
    }
}
