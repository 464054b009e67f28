//! Attention over chunks of keys and values: the right numbers, equal bits on every level, and
//! independence of tiles, runs and neighbours.

use lucid_kernels::*;

fn noise(len: usize, seed: f32) -> Vec<f32> {
    (0..len).map(|i| ((i as f32 + seed) * 12.9898).sin() * 1.5).collect()
}

/// One problem: the query heads of one KV head over some positions, rows for the last of them.
#[derive(Clone)]
struct Case {
    shape: AttentionShape,
    positions: usize,
    rows: usize,
    /// `[rows, group, head_dim]`
    q: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Case {
    fn new(group: usize, (head_dim, value_dim): (usize, usize), positions: usize) -> Self {
        let scale = 1.3 / (head_dim as f32).sqrt();
        let kv = KvDType::F32;
        let shape =
            AttentionShape { kv, group, head_dim, value_dim, scale, soft_cap: None, window: None };
        Self {
            shape,
            positions,
            rows: positions,
            q: noise(positions * group * head_dim, 0.1),
            keys: noise(positions * head_dim, 0.2),
            values: noise(positions * value_dim, 0.3),
        }
    }

    /// Only the last rows are computed.
    fn last_rows(mut self, rows: usize) -> Self {
        let width = self.shape.group * self.shape.head_dim;
        self.q.drain(..(self.rows - rows) * width);
        self.rows = rows;
        self
    }

    fn with(mut self, change: impl Fn(&mut AttentionShape)) -> Self {
        change(&mut self.shape);
        self
    }

    /// The chunks of all positions. What was never written is no number.
    fn stored(&self, level: Level) -> Vec<Vec<u8>> {
        let AttentionShape { kv, head_dim, value_dim, .. } = self.shape;
        let bytes = kv.chunk_bytes(head_dim, value_dim);
        // NaN in every float, and in every scale of quants.
        let mut chunks = vec![vec![0xffu8; bytes]; self.positions.div_ceil(KV_CHUNK)];
        for position in 0..self.positions {
            let key = &self.keys[position * head_dim..][..head_dim];
            let value = &self.values[position * value_dim..][..value_dim];
            let (chunk, slot) = (&mut chunks[position / KV_CHUNK], position % KV_CHUNK);
            store_kv(level, kv, key, value, slot, chunk, &mut Vec::new());
        }
        chunks
    }

    fn rows_from(&self, from: usize, count: usize) -> AttentionRows<'_> {
        let width = self.shape.group * self.shape.head_dim;
        let first = self.positions - self.rows + from;
        AttentionRows { q: &self.q[from * width..], stride: width, first, count }
    }

    /// Attention of all rows, so many at a time.
    fn attend(&self, level: Level, tile: usize) -> Vec<f32> {
        let chunks = self.stored(level);
        let width = self.shape.group * self.shape.value_dim;
        let mut out = vec![9.0; self.rows * width];
        let scratch = &mut AttentionScratch::default();
        for (index, out) in out.chunks_mut(tile * width).enumerate() {
            let rows = self.rows_from(index * tile, out.len() / width);
            let bands = &mut column_bands(out, rows.count, width, &[0, width]);
            attend(level, &self.shape, &rows, |i| &chunks[i], scratch, &mut bands[0]);
        }
        out
    }

    /// The same in runs that are merged, as threads do that share a context.
    fn attend_split(&self, level: Level) -> Vec<f32> {
        let chunks = self.stored(level);
        let width = self.shape.group * self.shape.value_dim;
        let mut out = vec![9.0; self.rows * width];
        let rows = self.rows_from(0, self.rows);
        let runs = self.shape.runs(&rows);
        // Backwards: threads finish in any order.
        let mut partials: Vec<Vec<f32>> = (runs.rev())
            .map(|run| {
                let mut partial = vec![9.0; self.shape.partial_len(rows.count)];
                let scratch = &mut AttentionScratch::default();
                attend_run(level, &self.shape, &rows, |i| &chunks[i], run, scratch, &mut partial);
                partial
            })
            .collect();
        partials.reverse();
        let bands = &mut column_bands(&mut out, self.rows, width, &[0, width]);
        let scratch = &mut AttentionScratch::default();
        let partials = partials.iter().map(Vec::as_slice);
        merge_runs(level, &self.shape, partials, scratch, &mut bands[0]);
        out
    }

    /// In f64, straight from the definition.
    fn exact(&self) -> Vec<f64> {
        let AttentionShape { group, head_dim, value_dim, scale, soft_cap, window, .. } = self.shape;
        let mut out = Vec::new();
        for (head, q) in self.q.chunks_exact(head_dim).enumerate() {
            let end = self.positions - self.rows + head / group + 1;
            let visible = window.map_or(0, |window| end.saturating_sub(window))..end;
            let score = |j: usize| {
                let key = &self.keys[j * head_dim..][..head_dim];
                let product: f64 =
                    q.iter().zip(key).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                let score = product * f64::from(scale);
                soft_cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
            };
            let weights: Vec<f64> = visible.clone().map(|j| score(j).exp()).collect();
            let total: f64 = weights.iter().sum();
            out.extend((0..value_dim).map(|d| {
                let value = |j: usize| f64::from(self.values[j * value_dim + d]);
                visible
                    .clone()
                    .zip(&weights)
                    .map(|(j, weight)| weight / total * value(j))
                    .sum::<f64>()
            }));
        }
        out
    }

    /// The largest difference from the definition.
    fn error(&self, got: &[f32]) -> f64 {
        let exact = self.exact();
        assert_eq!(exact.len(), got.len());
        let differences = got.iter().zip(&exact).map(|(got, want)| (f64::from(*got) - want).abs());
        differences.fold(0.0, |worst, x| if x > worst || x.is_nan() { x } else { worst })
    }

    fn formats(&self) -> Vec<KvDType> {
        let all = [KvDType::F32, KvDType::F16, KvDType::BF16, KvDType::Q8_0, KvDType::Q4_0];
        let fits = |kv: &KvDType| {
            [self.shape.head_dim, self.shape.value_dim]
                .iter()
                .all(|dim| dim.is_multiple_of(kv.block_len()))
        };
        all.into_iter().filter(fits).collect()
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// A case is exact in f32, near in every other format, and has the same bits on every level, in
/// every tile and in runs.
fn check(case: &Case) {
    for kv in case.formats() {
        let case = case.clone().with(|shape| shape.kv = kv);
        let place = format!("{:?}, {} rows of {}", case.shape, case.rows, case.positions);
        let scalar = case.attend(Level::Scalar, case.rows);
        let bound = match kv {
            KvDType::F32 => 1e-5,
            KvDType::F16 => 2e-3,
            KvDType::BF16 => 1.6e-2,
            KvDType::Q8_0 => 2e-2,
            KvDType::Q4_0 => 0.4,
        };
        let error = case.error(&scalar);
        assert!(error < bound, "{place}: off by {error:e}");
        for level in Level::available() {
            assert_eq!(case.stored(level), case.stored(Level::Scalar), "{place}: {}", level.name());
            // The scalar level is slow.
            let tiles: &[usize] = if level == Level::Scalar { &[5] } else { &[1, 5, 16] };
            for &tile in tiles {
                let got = case.attend(level, tile);
                assert_eq!(bits(&got), bits(&scalar), "{place}: {}, tile {tile}", level.name());
            }
            let got = case.attend_split(level);
            assert_eq!(bits(&got), bits(&scalar), "{place}: {}, in runs", level.name());
        }
    }
}

#[test]
fn attention_is_exact_and_equal_on_all_levels() {
    check(&Case::new(1, (1, 1), 1));
    check(&Case::new(1, (64, 64), 130));
    check(&Case::new(4, (64, 64), 150).last_rows(40));
    check(&Case::new(3, (96, 32), 65));
    check(&Case::new(5, (80, 72), 70));
    check(&Case::new(2, (18, 100), 129).last_rows(20));
    check(&Case::new(8, (32, 128), 64));
}

#[test]
fn long_contexts_cross_runs() {
    check(&Case::new(2, (32, 32), 600).last_rows(4));
    check(&Case::new(1, (32, 64), 1100).last_rows(19));
    check(&Case::new(6, (17, 15), 515).last_rows(5));
}

#[test]
fn windows_and_caps() {
    for window in [1, 3, 63, 64, 65, 200] {
        let windowed = |shape: &mut AttentionShape| shape.window = Some(window);
        check(&Case::new(2, (32, 32), 210).last_rows(75).with(windowed));
        check(&Case::new(1, (20, 18), 1300).last_rows(20).with(windowed));
    }
    check(&Case::new(2, (32, 32), 100).with(|shape| shape.soft_cap = Some(0.7)));
    let both = |shape: &mut AttentionShape| {
        (shape.soft_cap, shape.window, shape.scale) = (Some(5.0), Some(40), 0.9);
    };
    check(&Case::new(3, (64, 32), 130).with(both));
}

/// A row does not change with the rows, heads and later positions beside it, even infinite ones.
#[test]
fn a_row_depends_on_itself_alone() {
    let case = Case::new(4, (32, 32), 200);
    let (width, head_dim) = (case.shape.group * case.shape.head_dim, case.shape.head_dim);
    for level in Level::available() {
        let whole = case.attend(level, 16);
        let mut shorter = case.clone();
        shorter.positions = 150;
        shorter.rows = 150;
        assert_eq!(bits(&shorter.attend(level, 7)), bits(&whole[..150 * width]));
        let mut broken = case.clone();
        for later in [&mut broken.keys, &mut broken.values] {
            later[171 * head_dim..].fill(f32::INFINITY);
        }
        assert_eq!(bits(&broken.attend(level, 16)[..171 * width]), bits(&whole[..171 * width]));
        let mut alone = case.clone().with(|shape| shape.group = 1);
        let third = |row: &[f32]| row[2 * head_dim..3 * head_dim].to_vec();
        alone.q = case.q.chunks_exact(width).flat_map(third).collect();
        let own: Vec<f32> = whole.chunks_exact(width).flat_map(third).collect();
        assert_eq!(bits(&alone.attend(level, 16)), bits(&own));
    }
}

/// What is stored of a position does not change when others are stored.
#[test]
fn positions_are_stored_apart() {
    for kv in Case::new(1, (64, 32), 1).formats() {
        let case = Case::new(1, (64, 32), 70).with(|shape| shape.kv = kv).last_rows(3);
        let mut other = case.clone();
        other.keys[65 * 64..66 * 64].fill(1e4);
        other.values[65 * 32..66 * 32].fill(-1e4);
        for level in Level::available() {
            let (a, b) = (case.attend(level, 1), other.attend(level, 1));
            // 67 is the first row; 65 is in the past of all, so they differ, unless it is hidden.
            assert_ne!(bits(&a), bits(&b), "{}", kv.name());
            let window = |shape: &mut AttentionShape| shape.window = Some(2);
            let (a, b) = (case.clone().with(window), other.clone().with(window));
            assert_eq!(bits(&a.attend(level, 3)), bits(&b.attend(level, 3)), "{}", kv.name());
        }
    }
}
