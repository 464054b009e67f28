//! What is trained: f32 masters, and copies of matrices packed for the products.
//!
//! Masters lie one after the other in the order in which they were bound, matrices in one piece of
//! memory and vectors in another. So matrices that were bound one after the other and share their
//! width (a gate and its up) are one matrix to a product.
//!
//! A matrix is packed when a product first needs it, in the orientation that it needs, and anew by
//! `repack` once its master has changed; where products read the master itself as fast, it is not.
//! Packing moves numbers (and rounds them to bfloat16 if products want that), so nothing but speed
//! depends on it.

use std::collections::BTreeMap;
use std::ops::Range;

use lucid_kernels::{
    self as kernels, DType, Elements, Level, Matrix, Order, PackedRight, Products, Right,
};
use lucid_sys::ThreadPool;

use crate::aligned::Aligned;
use crate::{TensorError, TensorView};

/// A handle on a bound parameter; the order of handles is the order of binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParameterId(u32);

impl ParameterId {
    /// Its place in the order in which parameters were bound.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a parameter lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Matrix { start: usize, rows: usize, cols: usize },
    Vector { start: usize, len: usize },
}

struct Entry {
    name: String,
    shape: Vec<usize>,
    place: Place,
}

/// Matrices of one width that lie one after the other: `[rows, cols]` from `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Block {
    pub(super) start: usize,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

impl Block {
    pub(super) fn range(&self) -> Range<usize> {
        self.start..self.start + self.rows * self.cols
    }
}

/// Which product a block is the right operand of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Orientation {
    /// `x W^T`: `[cols, rows]`.
    Forward,
    /// `dy W`: `[rows, cols]`.
    Backward,
}

/// All parameters of a model: masters by handle, names, shapes and what products read. All tapes of
/// a run share one.
pub struct Parameters {
    level: Level,
    products: Products,
    entries: Vec<Entry>,
    matrices: Aligned<f32>,
    vectors: Aligned<f32>,
    packed: BTreeMap<(Block, Orientation), PackedRight>,
    /// Counts what may have changed masters.
    version: u64,
    /// Whether masters may have changed since they were packed.
    stale: bool,
}

impl Parameters {
    pub(super) fn new(level: Level, products: Products) -> Self {
        Self {
            level,
            products,
            entries: Vec::new(),
            matrices: Aligned::default(),
            vectors: Aligned::default(),
            packed: BTreeMap::new(),
            version: 0,
            stale: false,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is bound yet.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All handles, in the order of binding.
    pub fn ids(&self) -> impl Iterator<Item = ParameterId> + use<> {
        (0..self.entries.len() as u32).map(ParameterId)
    }

    /// The handle of a tensor's name.
    pub fn find(&self, name: &str) -> Option<ParameterId> {
        self.ids().find(|id| self.name(*id) == name)
    }

    /// The tensor's name in GGUF's vocabulary.
    pub fn name(&self, id: ParameterId) -> &str {
        &self.entries[id.index()].name
    }

    /// Dimensions, outermost first: `[rows, cols]` or `[len]`.
    pub fn shape(&self, id: ParameterId) -> &[usize] {
        &self.entries[id.index()].shape
    }

    /// Numbers of all parameters together.
    pub fn element_count(&self) -> usize {
        self.matrices.as_slice().len() + self.vectors.as_slice().len()
    }

    /// The master, row-major.
    pub fn values(&self, id: ParameterId) -> &[f32] {
        match self.place(id) {
            Place::Matrix { start, rows, cols } => {
                &self.matrices.as_slice()[start..start + rows * cols]
            }
            Place::Vector { start, len } => &self.vectors.as_slice()[start..start + len],
        }
    }

    /// The same, to change. Products read them after `repack`; a pass before it panics.
    pub fn values_mut(&mut self, id: ParameterId) -> &mut [f32] {
        self.touch();
        match self.place(id) {
            Place::Matrix { start, rows, cols } => {
                &mut self.matrices.as_mut_slice()[start..start + rows * cols]
            }
            Place::Vector { start, len } => &mut self.vectors.as_mut_slice()[start..start + len],
        }
    }

    /// All masters at once, in the order of binding: for an optimiser that works on many threads.
    /// Products read them after `repack`; a pass before it panics.
    pub fn all_mut(&mut self) -> Vec<(ParameterId, &mut [f32])> {
        self.touch();
        let (matrices, vectors) = (self.matrices.as_mut_slice(), self.vectors.as_mut_slice());
        let places = self.entries.iter().map(|entry| entry.place);
        split(places, matrices, vectors)
    }

    /// Packs all that products have needed so far anew, on all threads of the pool. To be called
    /// after masters have changed, before the next pass begins.
    pub fn repack(&mut self, pool: &ThreadPool) {
        self.version += 1;
        self.stale = false;
        let (level, products, matrices) = (self.level, self.products, self.matrices.as_slice());
        let mut tasks: Vec<_> = self.packed.iter_mut().collect();
        // The largest first, so that all threads end together.
        tasks.sort_by_key(|((block, _), _)| std::cmp::Reverse(block.rows * block.cols));
        // A thread begins with a consecutive part, so the largest are dealt out in turn.
        let threads = pool.threads();
        let mut dealt: Vec<_> = tasks.into_iter().enumerate().collect();
        dealt.sort_by_key(|(place, _)| place % threads);
        pool.for_each(&mut dealt, |_, (_, ((block, orientation), packed))| {
            packed.pack(level, products, operand(matrices, *block, *orientation));
        });
    }

    pub(super) fn bind(&mut self, view: &TensorView) -> Result<ParameterId, TensorError> {
        let (rows, cols) = match *view.shape.as_slice() {
            [cols] => (1, cols),
            [rows, cols] => (rows, cols),
            _ => {
                let name = view.name.clone();
                let found = view.shape.len();
                return Err(TensorError::Rank { name, offset: view.offset, found });
            }
        };
        if !matches!(view.dtype, DType::F32 | DType::F16 | DType::BF16) {
            let (name, offset, dtype) = (view.name.clone(), view.offset, view.dtype);
            return Err(TensorError::Quantised { name, offset, dtype });
        }
        let elements = rows.checked_mul(cols);
        let expected = elements.and_then(|count| view.dtype.row_bytes(count));
        let expected = expected.unwrap_or(usize::MAX);
        let (Some(elements), true) = (elements, expected == view.data.len()) else {
            return Err(TensorError::Length {
                name: view.name.clone(),
                offset: view.offset,
                dtype: view.dtype,
                shape: view.shape.clone(),
                expected,
                found: view.data.len(),
            });
        };
        let vector = view.shape.len() == 1;
        let memory = if vector { &mut self.vectors } else { &mut self.matrices };
        let start = memory.as_slice().len();
        memory.extend(elements);
        let values = &mut memory.as_mut_slice()[start..];
        kernels::dequantize_row(self.level, view.dtype, &view.data, values);
        let place = if vector {
            Place::Vector { start, len: elements }
        } else {
            Place::Matrix { start, rows, cols }
        };
        self.entries.push(Entry { name: view.name.clone(), shape: view.shape.clone(), place });
        self.version += 1;
        Ok(ParameterId(self.entries.len() as u32 - 1))
    }

    fn touch(&mut self) {
        self.version += 1;
        // What was never packed is read as it is.
        self.stale = !self.packed.is_empty();
    }

    /// Whether masters were changed and not packed anew.
    pub(super) fn is_stale(&self) -> bool {
        self.stale
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn place(&self, id: ParameterId) -> Place {
        self.entries[id.index()].place
    }

    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        self.entries.iter().map(|entry| entry.place)
    }

    /// Elements of all matrices, and of all vectors.
    pub(super) fn sizes(&self) -> [usize; 2] {
        [self.matrices.as_slice().len(), self.vectors.as_slice().len()]
    }

    /// A matrix as a block.
    pub(super) fn block(&self, id: ParameterId) -> Block {
        match self.place(id) {
            Place::Matrix { start, rows, cols } => Block { start, rows, cols },
            Place::Vector { .. } => panic!("a vector stands where a matrix is needed"),
        }
    }

    /// Two matrices as one, if they lie so.
    pub(super) fn joined(&self, first: ParameterId, second: ParameterId) -> Option<Block> {
        let (a, b) = (self.block(first), self.block(second));
        let joins = a.cols == b.cols && a.range().end == b.start;
        joins.then(|| Block { rows: a.rows + b.rows, ..a })
    }

    pub(super) fn vector(&self, id: ParameterId) -> &[f32] {
        match self.place(id) {
            Place::Vector { start, len } => &self.vectors.as_slice()[start..start + len],
            Place::Matrix { .. } => panic!("a matrix stands where a vector is needed"),
        }
    }

    /// Whether products read a block at its best: packed, or where it lies.
    pub(super) fn is_ready(&self, block: Block, orientation: Orientation) -> bool {
        self.packed.contains_key(&(block, orientation)) || {
            let operand = operand(self.matrices.as_slice(), block, orientation);
            kernels::reads_in_place(self.level, self.products, operand)
        }
    }

    pub(super) fn pack(&mut self, block: Block, orientation: Orientation) {
        let packed = self.packed.entry((block, orientation)).or_default();
        let operand = operand(self.matrices.as_slice(), block, orientation);
        packed.pack(self.level, self.products, operand);
    }

    /// A block as the right operand of a product.
    pub(super) fn right(&self, block: Block, orientation: Orientation) -> Right<'_> {
        match self.packed.get(&(block, orientation)) {
            Some(packed) => Right::Packed(packed),
            None => Right::Matrix(operand(self.matrices.as_slice(), block, orientation)),
        }
    }
}

fn operand(matrices: &[f32], block: Block, orientation: Orientation) -> Matrix<'_> {
    let (rows, cols, order) = match orientation {
        Orientation::Forward => (block.cols, block.rows, Order::Transposed),
        Orientation::Backward => (block.rows, block.cols, Order::RowMajor),
    };
    let elements = Elements::F32(&matrices[block.range()]);
    Matrix { elements, rows, cols, stride: block.cols, order }
}

/// Two pieces of memory by parameter.
pub(super) fn split<'a>(
    places: impl Iterator<Item = Place>,
    mut matrices: &'a mut [f32],
    mut vectors: &'a mut [f32],
) -> Vec<(ParameterId, &'a mut [f32])> {
    let part = |(index, place)| {
        let (memory, len) = match place {
            Place::Matrix { rows, cols, .. } => (&mut matrices, rows * cols),
            Place::Vector { len, .. } => (&mut vectors, len),
        };
        let (own, rest) = std::mem::take(memory).split_at_mut(len);
        *memory = rest;
        (ParameterId(index as u32), own)
    };
    places.enumerate().map(part).collect()
}

#[cfg(test)]
mod tests {
    use lucid_sys::Bytes;

    use super::*;

    fn view(name: &str, dtype: DType, shape: &[usize], data: Vec<u8>) -> TensorView {
        let (name, shape) = (name.to_owned(), shape.to_vec());
        TensorView { name, dtype, shape, data: Bytes::from(data), offset: 7 }
    }

    fn floats(name: &str, shape: &[usize], values: &[f32]) -> TensorView {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        view(name, DType::F32, shape, bytes)
    }

    #[test]
    fn masters_keep_their_places() {
        let mut parameters = Parameters::new(Level::Scalar, Products::F32);
        let a = parameters.bind(&floats("a", &[2, 2], &[1.0, 2.0, 3.0, 4.0])).unwrap();
        let bias = parameters.bind(&floats("bias", &[2], &[9.0, 8.0])).unwrap();
        let b = parameters.bind(&floats("b", &[1, 2], &[5.0, 6.0])).unwrap();
        let half = view("half", DType::BF16, &[1, 2], vec![0x80, 0x3f, 0x00, 0x40]);
        let half = parameters.bind(&half).unwrap();
        assert_eq!(parameters.values(a), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(parameters.values(bias), [9.0, 8.0]);
        assert_eq!(parameters.values(b), [5.0, 6.0]);
        assert_eq!(parameters.values(half), [1.0, 2.0]);
        assert_eq!(parameters.joined(a, b), Some(Block { start: 0, rows: 3, cols: 2 }));
        assert_eq!(parameters.joined(a, half), None);
        assert_eq!((parameters.find("b"), parameters.find("c")), (Some(b), None));
        parameters.values_mut(b)[1] = 7.0;
        let all = parameters.all_mut();
        assert_eq!(all.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [a, bias, b, half]);
        assert_eq!(*all[2].1, [5.0, 7.0]);
        assert_eq!(parameters.element_count(), 10);
    }

    #[test]
    fn what_cannot_be_trained_is_refused() {
        let mut parameters = Parameters::new(Level::Scalar, Products::F32);
        let quantised = view("q", DType::Q8_0, &[1, 32], vec![0; 34]);
        let error = parameters.bind(&quantised).unwrap_err();
        assert!(matches!(error, TensorError::Quantised { offset: 7, .. }), "{error}");
        let short = view("s", DType::F32, &[2, 2], vec![0; 15]);
        let error = parameters.bind(&short).unwrap_err();
        assert!(matches!(error, TensorError::Length { expected: 16, found: 15, .. }), "{error}");
        let deep = view("d", DType::F32, &[1, 1, 1], vec![0; 4]);
        let error = parameters.bind(&deep).unwrap_err();
        assert!(matches!(error, TensorError::Rank { found: 3, .. }), "{error}");
        assert!(parameters.is_empty());
    }
}
