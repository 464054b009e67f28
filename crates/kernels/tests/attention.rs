//! Attention by chunks: equal bits on every level, the right numbers, and independence of the
//! group.

use lucid_kernels::*;
use std::ops::Range;

fn noise(len: usize, seed: f32) -> Vec<f32> {
    (0..len).map(|i| ((i as f32 + seed) * 12.9898).sin() * 1.5).collect()
}

/// One problem: `group` query heads over a chunk of keys and values.
struct Case {
    shape: ChunkShape,
    group: usize,
    q: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// What `attend_chunk` writes: per head max and sum, and the values.
type Attended = (Vec<f32>, Vec<f32>, Vec<f32>);

impl Case {
    fn new(group: usize, positions: usize, head_dim: usize, value_dim: usize) -> Self {
        let soft_cap = group.is_multiple_of(2).then_some(20.0);
        let shape = ChunkShape { head_dim, value_dim, scale: 0.3, soft_cap };
        Case {
            shape,
            group,
            q: noise(group * head_dim, 0.1),
            keys: noise(positions * head_dim, 0.2),
            values: noise(positions * value_dim, 0.3),
        }
    }

    fn attend(&self, level: Level, keys: KvSlice, values: KvSlice, at: Range<usize>) -> Attended {
        let (mut max, mut sum) = (vec![9.0; self.group], vec![9.0; self.group]);
        let mut out = vec![9.0; self.group * self.shape.value_dim];
        let scratch = &mut Vec::new();
        let (max_at, sum_at) = (&mut max, &mut sum);
        attend_chunk(
            level,
            &self.shape,
            &self.q,
            keys,
            values,
            at,
            max_at,
            sum_at,
            &mut out,
            scratch,
        );
        (max, sum, out)
    }

    /// In f64, straight from the definition.
    fn exact(&self, head: usize, visible: Range<usize>) -> Vec<f64> {
        let ChunkShape { head_dim, value_dim, scale, soft_cap } = self.shape;
        let score = |j: usize| {
            let product: f64 = (0..head_dim)
                .map(|i| {
                    f64::from(self.q[head * head_dim + i]) * f64::from(self.keys[j * head_dim + i])
                })
                .sum();
            let score = product * f64::from(scale);
            soft_cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
        };
        let scores: Vec<f64> = visible.clone().map(score).collect();
        let total: f64 = scores.iter().map(|s| s.exp()).sum();
        let column = |d: usize| {
            let value = |j: usize| f64::from(self.values[j * value_dim + d]);
            visible.clone().zip(&scores).map(|(j, s)| s.exp() / total * value(j)).sum()
        };
        (0..value_dim).map(column).collect()
    }
}

fn check(group: usize, positions: usize, head_dim: usize, value_dim: usize, visible: Range<usize>) {
    let case = Case::new(group, positions, head_dim, value_dim);
    let place = format!("group {group}, {visible:?} of {positions}, {head_dim} x {value_dim}");
    let (keys, values) = (KvSlice::F32(&case.keys), KvSlice::F32(&case.values));
    let (max, sum, out) = case.attend(Level::Scalar, keys, values, visible.clone());
    let (mut half_keys, mut half_values) = (vec![0; case.keys.len()], vec![0; case.values.len()]);
    store_kv(Level::Scalar, &case.keys, KvSliceMut::F16(&mut half_keys));
    store_kv(Level::Scalar, &case.values, KvSliceMut::F16(&mut half_values));
    let (half_k, half_v) = (KvSlice::F16(&half_keys), KvSlice::F16(&half_values));
    let halves = case.attend(Level::Scalar, half_k, half_v, visible.clone());
    for level in Level::available() {
        let got = case.attend(level, keys, values, visible.clone());
        assert_eq!(got, (max.clone(), sum.clone(), out.clone()), "{place} {}", level.name());
        let got = case.attend(level, half_k, half_v, visible.clone());
        assert_eq!(got, halves, "f16, {place} {}", level.name());
    }
    if visible.is_empty() {
        assert!(max.iter().all(|m| *m == f32::NEG_INFINITY) && sum.iter().all(|s| *s == 0.0));
        assert!(out.iter().all(|x| *x == 0.0));
        return;
    }
    for head in 0..group {
        let mut own = out[head * value_dim..(head + 1) * value_dim].to_vec();
        finish_attention(Level::detect(), sum[head], &mut own);
        for (got, want) in own.iter().zip(case.exact(head, visible.clone())) {
            assert!((f64::from(*got) - want).abs() < 2e-5, "{place}: {got} {want}");
        }
    }
}

#[test]
fn chunks_are_exact_and_equal_on_all_levels() {
    check(1, 1, 1, 1, 0..1);
    check(1, 40, 64, 64, 0..40);
    check(4, 64, 128, 128, 0..64);
    check(5, 33, 80, 72, 0..33);
    check(7, 20, 17, 15, 3..20);
    check(2, 30, 16, 100, 10..11);
    check(8, 64, 96, 64, 5..37);
    check(3, 10, 32, 32, 4..4);
}

#[test]
fn a_head_does_not_depend_on_its_group() {
    let case = Case::new(6, 50, 72, 40);
    for level in Level::available() {
        let (keys, values) = (KvSlice::F32(&case.keys), KvSlice::F32(&case.values));
        let (max, sum, out) = case.attend(level, keys, values, 2..49);
        for head in 0..6 {
            let alone = Case {
                q: case.q[head * 72..(head + 1) * 72].to_vec(),
                group: 1,
                ..Case::new(2, 50, 72, 40)
            };
            let (own_max, own_sum, own) = alone.attend(level, keys, values, 2..49);
            assert_eq!((own_max[0], own_sum[0]), (max[head], sum[head]));
            assert_eq!(own, out[head * 40..(head + 1) * 40]);
        }
    }
}

#[test]
fn merged_chunks_are_the_whole() {
    let case = Case::new(3, 100, 48, 32);
    let level = Level::detect();
    let (keys, values) = (KvSlice::F32(&case.keys), KvSlice::F32(&case.values));
    let (mut max, mut sum, mut out) = case.attend(level, keys, values, 0..0);
    for visible in [0..32, 32..64, 64..64, 64..96, 96..97] {
        let (m, s, o) = case.attend(level, keys, values, visible);
        for head in 0..3 {
            let part = head * 32..(head + 1) * 32;
            let into = &mut out[part.clone()];
            merge_chunk(level, &mut max[head], &mut sum[head], into, m[head], s[head], &o[part]);
        }
    }
    for head in 0..3 {
        let own = &mut out[head * 32..(head + 1) * 32];
        finish_attention(level, sum[head], own);
        for (got, want) in own.iter().zip(case.exact(head, 0..97)) {
            assert!((f64::from(*got) - want).abs() < 2e-5, "{got} {want}");
        }
    }
}
