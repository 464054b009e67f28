//! Each operation's gradients against finite differences. A network is an embedding, the operation,
//! and a head, so the embedding's gradient is that of the operation's input.

use lucid_tensor::{
    Activation, AttentionSpec, Level, Linear, Norm, Ops, ParameterId, RotaryPairing, RotarySpec,
    Site, Tape, TapeOptions, TapeValue,
};

use crate::fixture::{Batch, Network, OPTIONS, VOCABULARY};

const WIDTH: usize = 8;

fn plain(weight: ParameterId) -> Linear<ParameterId> {
    Linear { weight, bias: None }
}

fn biased(weight: ParameterId, bias: ParameterId) -> Linear<ParameterId> {
    Linear { weight, bias: Some(bias) }
}

fn head(tape: &mut Tape, x: TapeValue, linear: Linear<ParameterId>) -> TapeValue {
    let selected = tape.select_outputs(x);
    let scored = tape.select_scored(selected);
    let [logits] = tape.linear(scored, [linear]);
    logits
}

/// `operation` takes the embedded rows and the parameters after embedding and head.
fn check(
    shapes: &[&[usize]],
    out_width: usize,
    operation: impl Fn(&mut Tape, TapeValue, &[ParameterId]) -> TapeValue,
) {
    let (table, top) = ([VOCABULARY, WIDTH], [VOCABULARY, out_width]);
    let mut all: Vec<&[usize]> = vec![&table, &top];
    all.extend(shapes);
    let network = Network::new(OPTIONS, &all, 0.5, |tape: &mut Tape, ids: &[ParameterId]| {
        let x = tape.embed(ids[0], 1.25);
        let y = operation(tape, x, &ids[2..]);
        head(tape, y, plain(ids[1]))
    });
    network.check(&Batch::new(&[5, 4]));
}

#[test]
fn embedding_and_head() {
    check(&[], WIDTH, |_, x, _| x);
}

#[test]
fn the_head_may_have_a_bias_and_a_soft_cap_and_share_the_embedding() {
    let shapes: [&[usize]; 2] = [&[VOCABULARY, WIDTH], &[VOCABULARY]];
    let network = Network::new(OPTIONS, &shapes, 0.0, |tape: &mut Tape, ids: &[ParameterId]| {
        let x = tape.embed(ids[0], 2.0);
        let logits = head(tape, x, biased(ids[0], ids[1]));
        tape.soft_cap(logits, 1.5)
    });
    network.check(&Batch::new(&[5, 4]));
}

#[test]
fn projections_onto_several_weights() {
    let shapes: [&[usize]; 5] = [&[6, WIDTH], &[6], &[6, WIDTH], &[3, WIDTH], &[6, 3]];
    check(&shapes, 6, |tape, x, ids| {
        let [a, b, c] = tape.linear(x, [biased(ids[0], ids[1]), plain(ids[2]), plain(ids[3])]);
        let [c] = tape.linear(c, [plain(ids[4])]);
        // A rotation by nothing is a sum's way to a second use of `a`.
        let norm = Norm::Layer { weight: ids[1], bias: None, epsilon: 0.1 };
        let (sum, normed) = tape.add_norm(Site::AfterLayer(0), a, b, norm);
        let (sum, _) = tape.add_norm(Site::AfterLayer(1), sum, c, norm);
        tape.add_norm(Site::AfterLayer(2), sum, normed, norm).0
    });
}

#[test]
fn norms() {
    let rms = |ids: &[ParameterId]| Norm::Rms { weight: ids[0], epsilon: 0.05 };
    check(&[&[WIDTH]], WIDTH, |tape, x, ids| tape.norm(x, rms(ids)));
    check(&[&[WIDTH], &[WIDTH]], WIDTH, |tape, x, ids| {
        tape.norm(x, Norm::Layer { weight: ids[0], bias: Some(ids[1]), epsilon: 0.05 })
    });
    check(&[&[4]], WIDTH, |tape, x, ids| tape.head_norm(x, 4, rms(ids)));
}

#[test]
fn additions_with_a_norm() {
    check(&[&[WIDTH], &[WIDTH, WIDTH]], WIDTH, |tape, x, ids| {
        let norm = Norm::Rms { weight: ids[0], epsilon: 0.05 };
        let [y] = tape.linear(x, [plain(ids[1])]);
        let (sum, normed) = tape.add_norm(Site::AfterAttention(0), x, y, norm);
        tape.add_norm(Site::AfterLayer(0), sum, normed, norm).1
    });
}

#[test]
fn rotary_embeddings() {
    for pairing in [RotaryPairing::Halves, RotaryPairing::Neighbours] {
        let spec = RotarySpec { inverse_frequencies: vec![1.0], magnitude: 1.25, pairing };
        check(&[&[WIDTH, WIDTH]], WIDTH, |tape, x, ids| {
            let rotary = tape.bind_rotary(spec.clone());
            let [x] = tape.linear(x, [plain(ids[0])]);
            tape.rotary(x, 4, rotary)
        });
    }
}

fn attention(spec: AttentionSpec) {
    let AttentionSpec { head_count, kv_head_count, head_dim, value_dim, .. } = spec;
    let (q, out) = (head_count * head_dim, head_count * value_dim);
    let (k, v) = (kv_head_count * head_dim, kv_head_count * value_dim);
    check(&[&[q, WIDTH], &[k, WIDTH], &[v, WIDTH]], out, |tape, x, ids| {
        let [q, k, v] = tape.linear(x, [plain(ids[0]), plain(ids[1]), plain(ids[2])]);
        tape.attention(0, q, k, v, &spec)
    });
}

const SPEC: AttentionSpec = AttentionSpec {
    head_count: 2,
    kv_head_count: 2,
    head_dim: 3,
    value_dim: 3,
    scale: 0.4,
    soft_cap: None,
    window: None,
};

#[test]
fn attention_of_all_kinds() {
    attention(SPEC);
    attention(AttentionSpec { kv_head_count: 1, value_dim: 2, ..SPEC });
    attention(AttentionSpec { window: Some(2), ..SPEC });
    attention(AttentionSpec { soft_cap: Some(0.8), head_count: 1, kv_head_count: 1, ..SPEC });
}

#[test]
fn attention_over_more_than_one_tile() {
    let shapes: [&[usize]; 5] = [&[VOCABULARY, 4], &[VOCABULARY, 4], &[4, 4], &[2, 4], &[2, 4]];
    let options = TapeOptions { level: Level::detect(), ..OPTIONS };
    for window in [None, Some(40)] {
        let spec = AttentionSpec { kv_head_count: 1, head_dim: 2, value_dim: 2, window, ..SPEC };
        let forward = |tape: &mut Tape, ids: &[ParameterId]| {
            let x = tape.embed(ids[0], 2.0);
            let [q, k, v] = tape.linear(x, [plain(ids[2]), plain(ids[3]), plain(ids[4])]);
            let y = tape.attention(0, q, k, v, &spec);
            head(tape, y, plain(ids[1]))
        };
        let mut batch = Batch::new(&[3, 100]);
        batch.weights.iter_mut().for_each(|weight| *weight *= 0.1);
        Network::new(options, &shapes, 0.0, forward).check(&batch);
    }
}

#[test]
fn gated_blocks() {
    for activation in [Activation::Silu, Activation::GeluTanh] {
        let shapes: [&[usize]; 6] = [&[5, WIDTH], &[5], &[5, WIDTH], &[5], &[4, 5], &[4]];
        check(&shapes, 4, |tape, x, ids| {
            let (gate, up) = (biased(ids[0], ids[1]), biased(ids[2], ids[3]));
            tape.gated_mlp(x, gate, up, biased(ids[4], ids[5]), activation)
        });
        // Gate and up in the other order, so that they are no one matrix.
        check(&[&[5, WIDTH], &[5, WIDTH], &[4, 5]], 4, |tape, x, ids| {
            tape.gated_mlp(x, plain(ids[1]), plain(ids[0]), plain(ids[2]), activation)
        });
    }
}

#[test]
fn soft_caps() {
    check(&[&[WIDTH, WIDTH]], WIDTH, |tape, x, ids| {
        let [x] = tape.linear(x, [plain(ids[0])]);
        tape.soft_cap(x, 0.9)
    });
}
