//! Whole models on the training executor.

mod architectures;
mod learning;
mod serving;
mod source;
mod torch;

use lucid_model::Transformer;
use lucid_tensor::{KvDType, Level, ParameterId, Products, Purpose, Recompute, Tape, TapeOptions};

use source::{Batch, Model};

fn options(products: Products) -> TapeOptions {
    let (level, kv) = (Level::detect(), KvDType::F32);
    TapeOptions { level, products, kv, recompute: Recompute::Nothing }
}

/// A model on a tape.
struct Trained {
    tape: Tape,
    transformer: Transformer<Tape>,
}

impl Trained {
    fn new(model: &Model, options: TapeOptions) -> Self {
        let mut tape = Tape::new(options);
        let transformer = Transformer::bind(model, &mut tape).expect("a model of ours");
        Self { tape, transformer }
    }

    fn ids(&self) -> Vec<ParameterId> {
        self.tape.parameters().ids().collect()
    }

    /// The sum of weighted losses, without gradients.
    fn loss(&mut self, batch: &Batch) -> f64 {
        self.tape.begin(&batch.rows, Purpose::Evaluate);
        let logits = self.transformer.forward(&mut self.tape).logits;
        weighted(self.tape.losses(logits, &batch.targets, &batch.weights), batch)
    }

    /// The same, and adds its gradients.
    fn train(&mut self, batch: &Batch) -> f64 {
        self.tape.begin(&batch.rows, Purpose::Train);
        let logits = self.transformer.forward(&mut self.tape).logits;
        let loss = self.tape.cross_entropy(logits, &batch.targets, &batch.weights);
        let loss = weighted(loss, batch);
        self.tape.backward();
        loss
    }
}

fn weighted(losses: &[f32], batch: &Batch) -> f64 {
    let each = losses.iter().zip(&batch.weights);
    each.map(|(loss, weight)| f64::from(*loss) * f64::from(*weight)).sum()
}
