//! What holds for passes as wholes: documents, weights, accumulation, lanes, recomputing, hooks.

use std::sync::{Arc, Mutex};

use lucid_tensor::Site::{AfterAttention, AfterLayer, Embedding};
use lucid_tensor::{
    Activation, AttentionSpec, Level, Linear, Norm, Ops, ParameterId, PassRow, Products, Purpose,
    Recompute, RotaryPairing, RotarySpec, Tape, TapeOptions, TapeValue,
};

use crate::fixture::{Batch, Network, OPTIONS, Random, VOCABULARY};

const WIDTH: usize = 6;

fn plain(weight: ParameterId) -> Linear<ParameterId> {
    Linear { weight, bias: None }
}

/// A layer that uses every operation.
fn forward(tape: &mut Tape, ids: &[ParameterId]) -> TapeValue {
    let spec = AttentionSpec {
        head_count: 2,
        kv_head_count: 1,
        head_dim: 3,
        value_dim: 3,
        scale: 0.6,
        soft_cap: None,
        window: Some(3),
    };
    let norm = Norm::Rms { weight: ids[5], epsilon: 0.01 };
    let embedded = tape.embed(ids[0], 1.0);
    let mut residual = tape.probe(Embedding, embedded);
    let mut normed = tape.norm(residual, norm);
    for layer in 0..2 {
        [residual, normed] = tape.scope(|tape| {
            let [residual, normed] = tape.scope(|tape| {
                let [q, k, v] = tape.linear(normed, [plain(ids[1]), plain(ids[2]), plain(ids[3])]);
                let q = tape.head_norm(q, 6, norm);
                let mixed = tape.attention(layer, q, k, v, &spec);
                tape.add_norm(AfterAttention(layer), residual, mixed, norm).into()
            });
            let (gate, up, down) = (plain(ids[1]), plain(ids[4]), plain(ids[4]));
            let fed = tape.gated_mlp(normed, gate, up, down, Activation::Silu);
            tape.add_norm(AfterLayer(layer), residual, fed, norm).into()
        });
    }
    let selected = tape.select_outputs(normed);
    let scored = tape.select_scored(selected);
    let [logits] = tape.linear(scored, [plain(ids[0])]);
    logits
}

type Forward = fn(&mut Tape, &[ParameterId]) -> TapeValue;

fn network(options: TapeOptions) -> Network<Forward> {
    let square: &[usize] = &[WIDTH, WIDTH];
    let narrow: &[usize] = &[3, WIDTH];
    let shapes = [&[VOCABULARY, WIDTH], square, narrow, narrow, square, &[WIDTH]];
    Network::new(options, &shapes, 0.5, forward)
}

#[test]
fn documents_do_not_see_each_other() {
    let mut batch = Batch::new(&[5, 4]);
    let (losses, _) = network(OPTIONS).train(&batch);
    let first = Batch {
        rows: batch.rows[..5].to_vec(),
        targets: batch.targets[..5].to_vec(),
        weights: batch.weights[..5].to_vec(),
    };
    let (alone, gradients) = network(OPTIONS).train(&first);
    assert_eq!(losses[..5], alone);
    // Nor does the gradient of the first pass through the second one, whatever it says.
    batch.weights[5..].fill(0.0);
    batch.rows[5..].iter_mut().for_each(|row| row.token = 0);
    let (losses, masked) = network(OPTIONS).train(&batch);
    assert_eq!(losses[..5], alone);
    assert_eq!(losses[5..], [0.0; 4]);
    for (masked, alone) in masked.iter().zip(&gradients) {
        for (masked, alone) in masked.iter().zip(alone) {
            assert!((masked - alone).abs() <= 1e-5 * (1.0 + alone.abs()), "{masked} {alone}");
        }
    }
}

#[test]
fn micro_batches_and_lanes_add_up() {
    let batches = [Batch::new(&[5, 4]), Batch::new(&[3])];
    let of = |batch: &Batch| network(OPTIONS).train(batch).1;
    let separate = batches.each_ref().map(of);
    let mut both = network(OPTIONS);
    both.train(&batches[0]);
    let (_, summed) = both.train(&batches[1]);
    let each = summed.iter().flatten().zip(separate[0].iter().flatten());
    for ((sum, a), b) in each.zip(separate[1].iter().flatten()) {
        assert!((sum - (a + b)).abs() <= 1e-5 * (1.0 + sum.abs()), "{sum} {a} {b}");
    }
    // A lane gives the bits of the tape that it was made of.
    let lane = both.tape.lane();
    let mut lane = Network { tape: lane, ids: both.ids.clone(), forward: both.forward };
    assert!(lane.train(&batches[0]).1 == separate[0]);
    both.tape.zero_gradients();
    assert!(both.train(&batches[0]).1 == separate[0]);
}

#[test]
fn computing_scopes_again_changes_no_bit() {
    for products in [Products::F32, Products::Bf16] {
        let options = TapeOptions { products, ..OPTIONS };
        let batch = Batch::new(&[5, 4]);
        let want = network(options).train(&batch);
        let mut network = network(TapeOptions { recompute: Recompute::Scopes, ..options });
        for _ in 0..2 {
            assert!(network.train(&batch) == want);
            network.tape.zero_gradients();
        }
        assert_eq!(network.loss(&batch), {
            let each = want.0.iter().zip(&batch.weights);
            each.map(|(loss, weight)| f64::from(*loss) * f64::from(*weight)).sum::<f64>()
        });
    }
}

#[test]
fn gradients_of_two_layers_together() {
    network(OPTIONS).check(&Batch::new(&[5, 4]));
}

#[test]
fn packed_parameters_give_the_bits_of_unpacked_ones() {
    let batch = Batch::new(&[5]);
    let mut network = network(TapeOptions { products: Products::Bf16, ..OPTIONS });
    let want = network.train(&batch);
    network.tape.parameters_mut().repack(&lucid_sys::ThreadPool::new(2));
    network.tape.zero_gradients();
    assert!(network.train(&batch) == want);
}

/// Two attentions over the same keys and values, with groups of heads, whose widths differ.
fn attend_twice(tape: &mut Tape, ids: &[ParameterId]) -> TapeValue {
    let spec = AttentionSpec {
        head_count: 4,
        kv_head_count: 2,
        head_dim: 3,
        value_dim: 2,
        scale: 0.6,
        soft_cap: Some(0.8),
        window: Some(3),
    };
    let x = tape.embed(ids[0], 1.0);
    let [q, k, v] = tape.linear(x, [plain(ids[1]), plain(ids[2]), plain(ids[3])]);
    let once = tape.attention(0, q, k, v, &spec);
    let [q] = tape.linear(once, [plain(ids[4])]);
    let twice = tape.attention(1, q, k, v, &spec);
    let scored = tape.select_scored(twice);
    tape.linear(scored, [plain(ids[5])])[0]
}

#[test]
fn threads_that_share_rows_change_no_bit() {
    let shapes: [&[usize]; 6] =
        [&[VOCABULARY, 5], &[12, 5], &[6, 5], &[4, 5], &[12, 8], &[VOCABULARY, 8]];
    for recompute in [Recompute::Nothing, Recompute::Scopes] {
        for products in [Products::F32, Products::Bf16] {
            let level = Level::detect();
            let options = TapeOptions { recompute, products, level, ..OPTIONS };
            for documents in [&[5, 3][..], &[1], &[70, 2, 9]] {
                let batch = Batch::new(documents);
                let with = |threads| {
                    let mut all = network(options);
                    let mut twice = Network::new(options, &shapes, 0.5, attend_twice);
                    all.tape.set_threads(threads);
                    twice.tape.set_threads(threads);
                    (all.train(&batch), twice.train(&batch))
                };
                let one = with(1);
                for threads in [2, 3, 7] {
                    assert!(with(threads) == one, "{threads} {products:?} {documents:?}");
                }
            }
        }
    }
}

/// Rows of logits that are padded: losses are those of the logits, gradients those of losses.
#[test]
fn a_head_of_whole_pages_is_as_any_other() {
    let batch = Batch::new(&[5, 3]);
    let (rows, vocabulary, width) = (batch.rows.len(), 1024, 4);
    let forward = |tape: &mut Tape, ids: &[ParameterId]| {
        let x = tape.embed(ids[0], 1.0);
        let x = tape.select_scored(x);
        tape.linear(x, [Linear { weight: ids[1], bias: Some(ids[2]) }])[0]
    };
    let shapes: [&[usize]; 3] = [&[VOCABULARY, width], &[vocabulary, width], &[vocabulary]];
    let mut network = Network::new(OPTIONS, &shapes, 0.0, forward);
    let (losses, gradients) = network.train(&batch);
    network.tape.begin(&batch.rows, Purpose::Evaluate);
    let logits = forward(&mut network.tape, &network.ids);
    let logits = network.tape.logits(logits);
    let mut bias = vec![0.0; vocabulary];
    for row in 0..rows {
        let logits = &logits[row * vocabulary..][..vocabulary];
        let sum: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
        let (target, weight) = (batch.targets[row] as usize, f64::from(batch.weights[row]));
        let want = if weight == 0.0 { 0.0 } else { sum.ln() - f64::from(logits[target]) };
        assert!((f64::from(losses[row]) - want).abs() < 1e-5, "{} {want}", losses[row]);
        for (token, bias) in bias.iter_mut().enumerate() {
            let hot = f64::from(u8::from(token == target));
            *bias += weight * (f64::from(logits[token]).exp() / sum - hot);
        }
    }
    for (found, want) in gradients[2].iter().zip(&bias) {
        assert!((f64::from(*found) - want).abs() < 1e-6, "{found} {want}");
    }
    // Each token's row of the matrix is moved by its logits alone.
    let table = network.tape.parameters().values(network.ids[0]).to_vec();
    let mut want = vec![0.0; vocabulary * width];
    for row in 0..rows {
        let logits = &logits[row * vocabulary..][..vocabulary];
        let sum: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
        let x = &table[batch.rows[row].token as usize * width..][..width];
        for token in 0..vocabulary {
            let hot = f64::from(u8::from(token == batch.targets[row] as usize));
            let p = f64::from(batch.weights[row]) * (f64::from(logits[token]).exp() / sum - hot);
            for (want, x) in want[token * width..][..width].iter_mut().zip(x) {
                *want += p * f64::from(*x);
            }
        }
    }
    for (found, want) in gradients[1].iter().zip(&want) {
        assert!((f64::from(*found) - want).abs() < 1e-6, "{found} {want}");
    }
}

/// Masters at lines of the cache are read where they lie, others are packed: to the same bits.
#[test]
fn where_parameters_lie_changes_no_bit() {
    let batch = Batch::new(&[5, 3]);
    let shapes: [&[usize]; 3] = [&[VOCABULARY, 32], &[64, 32], &[VOCABULARY, 64]];
    for level in Level::available() {
        let after = |count: usize| {
            let mut tape = Tape::new(TapeOptions { level, ..OPTIONS });
            tape.bind(&Random(9).view("before", &[1, count], 0.0)).unwrap();
            let bind = |(seed, shape): (u64, &&[usize])| {
                tape.bind(&Random(seed).view("p", shape, 0.0)).unwrap()
            };
            let ids = (1..).zip(&shapes).map(bind).collect();
            let forward = |tape: &mut Tape, ids: &[ParameterId]| {
                let x = tape.embed(ids[0], 1.0);
                let [x] = tape.linear(x, [plain(ids[1])]);
                let x = tape.select_scored(x);
                tape.linear(x, [plain(ids[2])])[0]
            };
            Network { tape, ids, forward }.train(&batch)
        };
        assert!(after(16) == after(5), "{level:?}");
    }
}

#[test]
#[should_panic(expected = "not packed anew")]
fn a_pass_over_parameters_that_were_not_packed_anew_is_refused() {
    let batch = Batch::new(&[5]);
    let mut network = network(OPTIONS);
    network.train(&batch);
    let id = network.ids[0];
    network.tape.parameters_mut().values_mut(id)[0] = 0.5;
    network.loss(&batch);
}

#[test]
fn hooks_see_every_site_and_may_change_it() {
    let batch = Batch::new(&[5]);
    let mut network = network(OPTIONS);
    let before = network.loss(&batch);
    let sites = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&sites);
    network.tape.set_hook(Some(Box::new(move |rows| {
        assert_eq!((rows.pass.rows.len(), rows.width), (5, WIDTH));
        seen.lock().unwrap().push(rows.site);
    })));
    assert_eq!(network.loss(&batch), before);
    let want = [Embedding, AfterAttention(0), AfterLayer(0), AfterAttention(1), AfterLayer(1)];
    assert_eq!(*sites.lock().unwrap(), want);
    network.tape.set_hook(Some(Box::new(|rows| {
        if rows.site == AfterLayer(0) {
            rows.values.iter_mut().for_each(|x| *x += 0.5);
        }
    })));
    assert_ne!(network.loss(&batch), before);
    network.check(&batch);
}

#[test]
fn log_probabilities_first_and_their_gradients_afterwards() {
    let batch = Batch::new(&[5]);
    let mut network = network(OPTIONS);
    let want = network.train(&batch);
    network.tape.zero_gradients();
    network.tape.begin(&batch.rows, Purpose::Train);
    let logits = forward(&mut network.tape, &network.ids);
    let losses = network.tape.losses(logits, &batch.targets, &batch.weights).to_vec();
    assert_eq!(losses, want.0);
    network.tape.cross_entropy(logits, &batch.targets, &batch.weights);
    network.tape.backward();
    for (id, want) in network.ids.iter().zip(&want.1) {
        assert_eq!(network.tape.gradients(*id), want);
    }
}

#[test]
fn rotary_tables_grow_with_the_longest_document() {
    let spec = RotarySpec {
        inverse_frequencies: vec![1.0, 0.25],
        magnitude: 1.0,
        pairing: RotaryPairing::Halves,
    };
    let rotated = |lengths: &[u32]| {
        let mut tape = Tape::new(OPTIONS);
        let table = Random(3).view("table", &[1, 4], 0.0);
        let (table, rotary) = (tape.bind(&table).unwrap(), tape.bind_rotary(spec.clone()));
        let mut last = Vec::new();
        for &length in lengths {
            let row = |position| PassRow { token: 0, position, sequence: 0 };
            tape.begin(&(0..length).map(row).collect::<Vec<_>>(), Purpose::Evaluate);
            let x = tape.embed(table, 1.0);
            let x = tape.rotary(x, 4, rotary);
            last = tape.read(x).to_vec();
        }
        last
    };
    assert_eq!(rotated(&[2, 9, 5, 9]), rotated(&[9]));
}

#[test]
#[should_panic(expected = "position of row 2")]
fn documents_begin_at_position_0() {
    let rows = [(0, 0), (1, 0), (1, 1)];
    let row = |(position, sequence)| PassRow { token: 0, position, sequence };
    network(OPTIONS).tape.begin(&rows.map(row), Purpose::Train);
}

#[test]
#[should_panic(expected = "changed during a pass")]
fn parameters_do_not_change_during_a_pass() {
    let batch = Batch::new(&[3]);
    let mut network = network(OPTIONS);
    network.tape.begin(&batch.rows, Purpose::Train);
    let logits = forward(&mut network.tape, &network.ids);
    network.tape.cross_entropy(logits, &batch.targets, &batch.weights);
    network.tape.parameters_mut().values_mut(network.ids[0])[0] = 1.0;
    network.tape.backward();
}

#[test]
#[should_panic(expected = "without a loss")]
fn backward_needs_a_loss() {
    let batch = Batch::new(&[3]);
    let mut network = network(OPTIONS);
    network.tape.begin(&batch.rows, Purpose::Train);
    forward(&mut network.tape, &network.ids);
    network.tape.backward();
}
