//! Products for training: every level gives each element by one chain in the documented order,
//! whatever the shape, order, stride and type of the operands; in bfloat16 that is the chain of
//! `packed_matmul`.

use half::bf16;
use lucid_kernels::*;

/// xorshift64*: numbers for tests.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Where the numbers of a test come from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Numbers {
    /// -1 to 1.
    Units,
    /// Zeros, subnormals, tiny and large ones among them.
    Mixed,
    /// Whose products and sums lie around 2^-126.
    Tiny,
}

impl Numbers {
    fn draw(self, random: &mut Random) -> f32 {
        let unit = random.unit();
        match self {
            Numbers::Units => unit,
            Numbers::Mixed => match random.below(16) {
                0 => 0.0,
                1 => -0.0,
                2 => f32::from_bits(random.next() as u32 & 0x807f_ffff),
                3 => unit * 1e-22,
                4 => unit * 1e15,
                _ => unit,
            },
            Numbers::Tiny => unit * 2f32.powi(-61 - random.below(6) as i32),
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }).collect()
}

/// Numbers from a line of the cache on, or from somewhere else.
struct Floats {
    all: Vec<f32>,
    start: usize,
}

/// Where they begin.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Start {
    AtLine,
    Elsewhere,
}

impl Floats {
    fn new(numbers: &[f32], start: Start) -> Floats {
        let mut all = vec![0.0; numbers.len() + 17];
        let line = all.as_ptr().align_offset(64);
        let start = if start == Start::AtLine { line } else { line + 1 };
        all[start..][..numbers.len()].copy_from_slice(numbers);
        all.truncate(start + numbers.len());
        Floats { all, start }
    }

    fn get(&self) -> &[f32] {
        &self.all[self.start..]
    }
}

/// An operand's storage.
struct Operand {
    floats: Floats,
    halves: Vec<bf16>,
    narrow: bool,
    rows: usize,
    cols: usize,
    stride: usize,
    order: Order,
}

impl Operand {
    /// Of any order, stride and type.
    fn draw(random: &mut Random, numbers: Numbers, rows: usize, cols: usize) -> Operand {
        let (order, lines, len) = match random.below(2) {
            0 => (Order::RowMajor, rows, cols),
            _ => (Order::Transposed, cols, rows),
        };
        let stride = [len, len + 1, len + 5, len.next_multiple_of(16)][random.below(4)];
        let floats = (0..lines * stride).map(|_| numbers.draw(random));
        let floats =
            if lines > 0 { floats.take((lines - 1) * stride + len) } else { floats.take(0) };
        let floats: Vec<f32> = floats.collect();
        let halves = floats.iter().map(|x| bf16::from_f32(*x)).collect();
        let narrow = random.below(3) == 0;
        let start = [Start::AtLine, Start::Elsewhere][random.below(2)];
        let floats = Floats::new(&floats, start);
        Operand { floats, halves, narrow, rows, cols, stride, order }
    }

    fn matrix(&self) -> Matrix<'_> {
        let Operand { rows, cols, stride, order, .. } = *self;
        let elements = if self.narrow {
            Elements::Bf16(&self.halves)
        } else {
            Elements::F32(self.floats.get())
        };
        Matrix { elements, rows, cols, stride, order }
    }

    fn at(&self, row: usize, col: usize) -> f32 {
        let place = match self.order {
            Order::RowMajor => row * self.stride + col,
            Order::Transposed => col * self.stride + row,
        };
        if self.narrow { self.halves[place].to_f32() } else { self.floats.get()[place] }
    }
}

fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0.0 * x.signum() } else { x }
}

/// One element, as the documentation has it.
fn element(products: Products, left: &Operand, right: &Operand, at: [usize; 2], start: f32) -> f32 {
    let len = left.cols;
    let pair =
        |k: usize| if k < len { (left.at(at[0], k), right.at(k, at[1])) } else { (0.0, 0.0) };
    match products {
        Products::F32 => (0..len).map(pair).fold(start, |sum, (a, b)| a.mul_add(b, sum)),
        Products::Bf16 => {
            let step = |sum: f32, k: usize| {
                let (a, b) = pair(k);
                let [a, b] = [a, b].map(|x| flush(bf16::from_f32(x).to_f32()));
                flush(a.mul_add(b, flush(sum)))
            };
            (0..len).step_by(2).fold(start, |sum, k| step(step(sum, k + 1), k))
        }
    }
}

/// All levels, packed before and in passing, onto anything.
fn check(random: &mut Random, numbers: Numbers, products: Products, [m, n, k]: [usize; 3]) {
    let left = Operand::draw(random, numbers, m, k);
    let right = Operand::draw(random, numbers, k, n);
    let stride = n + [0, 3][random.below(2)];
    let before: Vec<f32> = (0..m * stride).map(|_| numbers.draw(random)).collect();
    for onto in [Onto::Replace, Onto::Add] {
        let mut expected = before.clone();
        for row in 0..m {
            for col in 0..n {
                let start = if onto == Onto::Add { before[row * stride + col] } else { 0.0 };
                expected[row * stride + col] = element(products, &left, &right, [row, col], start);
            }
        }
        let expected = bits(&expected);
        for (name, level) in Level::variants() {
            let (mut packed, mut scratch) = (PackedRight::new(), GemmScratch::new());
            packed.pack(level, products, right.matrix());
            for right in [Right::Packed(&packed), Right::Matrix(right.matrix())] {
                let (mut out, left) = (before.clone(), left.matrix());
                gemm(level, products, left, right, onto, &mut out, stride, &mut scratch);
                let wrong = bits(&out).iter().zip(&expected).position(|(a, b)| a != b);
                let place = format!("{products:?} {numbers:?} {onto:?} {name} [{m}, {n}, {k}]");
                assert!(wrong.is_none(), "{place}: element {wrong:?} at stride {stride}");
            }
        }
    }
}

/// `[17, cols]` of a right operand packed before, and of the same where it lies, on every level;
/// how many of the latter were read in place.
fn read_where_it_lies(random: &mut Random, right: Matrix<'_>) -> usize {
    let (rows, cols, m) = (right.rows, right.cols, 17);
    let left: Vec<f32> = (0..m * rows).map(|_| random.unit()).collect();
    let before: Vec<f32> = (0..m * cols).map(|_| random.unit()).collect();
    let left = Matrix::row_major(&left, m, rows);
    let products = Products::F32;
    let mut count = 0;
    for (name, level) in Level::variants() {
        let mut packed = PackedRight::new();
        packed.pack(level, products, right);
        for onto in [Onto::Replace, Onto::Add] {
            let [want, found] = [Right::Packed(&packed), Right::Matrix(right)].map(|right| {
                let (mut out, mut scratch) = (before.clone(), GemmScratch::new());
                gemm(level, products, left, right, onto, &mut out, cols, &mut scratch);
                bits(&out)
            });
            assert_eq!(found, want, "{name} {onto:?} [{rows}, {cols}] of {}", right.stride);
        }
        assert!(!reads_in_place(level, Products::Bf16, right));
        assert!(!reads_in_place(level, products, right.transposed()));
        count += usize::from(reads_in_place(level, products, right));
    }
    count
}

#[test]
fn right_operands_are_read_where_they_lie() {
    let mut random = Random(0x11e5);
    let vector = |(_, level): &(_, Level)| *level != Level::Scalar;
    let levels = Level::variants().iter().filter(|it| vector(it)).count();
    // The second block of k, more columns than a block has, gaps; crowded, and not in lines.
    let of_lines = [(32, 32), (64, 80), (96, 96), (640, 656)];
    let others = [(96, 97), (33, 48), (64, 1024)];
    for (cols, stride) in of_lines.into_iter().chain(others) {
        for start in [Start::AtLine, Start::Elsewhere] {
            for rows in [1, 70, 1100] {
                let len = (rows - 1) * stride + cols;
                let numbers: Vec<f32> = (0..len).map(|_| random.unit()).collect();
                let floats = Floats::new(&numbers, start);
                let elements = Elements::F32(floats.get());
                let right = Matrix { elements, rows, cols, stride, order: Order::RowMajor };
                let lies = start == Start::AtLine && of_lines.contains(&(cols, stride));
                let want = if lies { levels } else { 0 };
                assert_eq!(read_where_it_lies(&mut random, right), want, "{cols} of {stride}");
            }
        }
    }
}

#[test]
fn every_element_is_one_chain_on_every_level() {
    let mut random = Random(0x9e37);
    let sizes = [1, 2, 3, 5, 6, 7, 13, 14, 15, 16, 17, 29, 31, 32, 33, 48, 65];
    for products in [Products::F32, Products::Bf16] {
        for numbers in [Numbers::Units, Numbers::Mixed, Numbers::Tiny] {
            for _ in 0..40 {
                let shape = [(); 3].map(|()| sizes[random.below(sizes.len())]);
                check(&mut random, numbers, products, shape);
            }
        }
    }
}

#[test]
fn long_sums_and_many_blocks() {
    let mut random = Random(0x51);
    for products in [Products::F32, Products::Bf16] {
        for shape in [
            [3, 5, 1100],
            [17, 96, 1100],
            [15, 33, 1024],
            [17, 40, 777],
            [31, 1050, 9],
            [300, 33, 20],
            [1, 70, 513],
        ] {
            for numbers in [Numbers::Units, Numbers::Mixed] {
                check(&mut random, numbers, products, shape);
            }
        }
    }
}

#[test]
fn a_part_of_what_is_packed_is_that_part_of_the_matrix() {
    let mut random = Random(0x9a27);
    let (rows, cols, m) = (151, 200, 17);
    let numbers = Numbers::Mixed;
    let elements: Vec<f32> = (0..rows * cols).map(|_| numbers.draw(&mut random)).collect();
    let left: Vec<f32> = (0..m * rows).map(|_| numbers.draw(&mut random)).collect();
    let onto = Onto::Replace;
    for (name, level) in Level::variants() {
        for products in [Products::F32, Products::Bf16] {
            let (mut packed, mut scratch) = (PackedRight::new(), GemmScratch::new());
            packed.pack(level, products, Matrix::row_major(&elements, rows, cols));
            for k in [0..64, 0..151, 64..128, 64..151, 128..128] {
                for n in [0..37, 64..200, 128..130, 0..200] {
                    let left = Matrix { stride: rows, ..Matrix::row_major(&left, m, k.len()) };
                    let at = &elements[k.start * cols + n.start..];
                    let whole = Matrix { stride: cols, ..Matrix::row_major(at, k.len(), n.len()) };
                    let [expected, found] =
                        [Right::Matrix(whole), packed.part(k.clone(), n.clone())].map(|right| {
                            let mut out = vec![0.0; m * n.len()];
                            gemm(
                                level,
                                products,
                                left,
                                right,
                                onto,
                                &mut out,
                                n.len(),
                                &mut scratch,
                            );
                            bits(&out)
                        });
                    assert_eq!(found, expected, "{name} {products:?} {k:?} {n:?}");
                }
            }
        }
    }
}

#[test]
fn memory_that_is_packed_again_gives_what_new_memory_gives() {
    let mut random = Random(0x4a61);
    let elements: Vec<f32> = (0..5000).map(|_| Numbers::Mixed.draw(&mut random)).collect();
    // Of one size in panels, larger and smaller, with missing columns and an odd k.
    let shapes = [[64, 60], [64, 33], [33, 64], [33, 1], [70, 70], [1, 5], [64, 60]];
    let mut scratch = GemmScratch::new();
    for (name, level) in Level::variants() {
        for products in [Products::F32, Products::Bf16] {
            let mut again = PackedRight::new();
            for [k, n] in shapes {
                for right in [
                    Matrix::row_major(&elements[..k * n], k, n),
                    Matrix::row_major(&elements[..k * n], n, k).transposed(),
                ] {
                    let mut new = PackedRight::new();
                    let left = Matrix::row_major(&elements[..9 * k], 9, k);
                    let [expected, found] = [&mut new, &mut again].map(|packed| {
                        packed.pack(level, products, right);
                        let (right, onto) = (Right::Packed(packed), Onto::Replace);
                        let mut out = vec![0.0; 9 * n];
                        gemm(level, products, left, right, onto, &mut out, n, &mut scratch);
                        bits(&out)
                    });
                    assert_eq!(found, expected, "{name} {products:?} [{k}, {n}]");
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "a part from")]
fn parts_that_begin_within_a_panel_are_refused() {
    let mut packed = PackedRight::new();
    packed.pack(Level::Scalar, Products::F32, Matrix::row_major(&[1.0; 200], 100, 2));
    packed.part(32..100, 0..2);
}

#[test]
fn empty_products() {
    let mut random = Random(3);
    for products in [Products::F32, Products::Bf16] {
        for shape in [[0, 3, 5], [2, 0, 5], [2, 3, 0], [0, 0, 0]] {
            check(&mut random, Numbers::Mixed, products, shape);
        }
    }
}

#[test]
fn bfloat16_products_are_those_of_packed_weights() {
    let mut random = Random(0xb16);
    for (batch, rows, cols) in [(1, 16, 64), (5, 33, 130), (40, 70, 258)] {
        let x: Vec<f32> = (0..batch * cols).map(|_| random.unit()).collect();
        let weights: Vec<bf16> = (0..rows * cols).map(|_| bf16::from_f32(random.unit())).collect();
        let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        let mut file = vec![0; packed_bytes(DType::BF16, rows, cols).expect("packed")];
        pack_rows(DType::BF16, &bytes, rows, cols, &mut file);
        let mut rounded = vec![0; activation_bytes(ActivationClass::Bf16, batch, cols)];
        for (_, level) in Level::variants() {
            let class = ActivationClass::Bf16;
            quantize_activations(level, class, &x, batch, cols, &mut rounded);
            let activations = Activations { class, bytes: &rounded, batch, cols };
            let packed = PackedRows { dtype: DType::BF16, bytes: &file, cols };
            let mut expected = vec![0.0; batch * rows];
            let mut bands = column_bands(&mut expected, batch, rows, &[0, rows]);
            packed_matmul(level, activations, packed, None, &mut bands[0], &mut Vec::new());

            let stored = Matrix {
                elements: Elements::Bf16(&weights),
                rows,
                cols,
                stride: cols,
                order: Order::RowMajor,
            };
            let mut right = PackedRight::new();
            right.pack(level, Products::Bf16, stored.transposed());
            let (mut out, mut scratch) = (vec![f32::NAN; batch * rows], GemmScratch::new());
            let left = Matrix::row_major(&x, batch, cols);
            let right = Right::Packed(&right);
            let products = Products::Bf16;
            gemm(level, products, left, right, Onto::Replace, &mut out, rows, &mut scratch);
            assert_eq!(bits(&out), bits(&expected), "{} [{batch}, {rows}, {cols}]", level.name());
        }
    }
}

#[test]
#[should_panic(expected = "packed for")]
fn operands_packed_for_other_products_are_refused() {
    let mut packed = PackedRight::new();
    packed.pack(Level::Scalar, Products::F32, Matrix::row_major(&[1.0], 1, 1));
    let (mut out, mut scratch) = ([0.0], GemmScratch::new());
    let left = Matrix::row_major(&[1.0], 1, 1);
    let right = Right::Packed(&packed);
    gemm(Level::Scalar, Products::Bf16, left, right, Onto::Add, &mut out, 1, &mut scratch);
}

#[test]
#[should_panic(expected = "does not fit")]
fn operands_that_end_early_are_refused() {
    let left = Matrix { stride: 3, ..Matrix::row_major(&[1.0; 4], 2, 2) };
    let (mut out, mut scratch) = ([0.0; 4], GemmScratch::new());
    let right = Right::Matrix(Matrix::row_major(&[1.0; 4], 2, 2));
    gemm(Level::Scalar, Products::F32, left, right, Onto::Add, &mut out, 2, &mut scratch);
}
