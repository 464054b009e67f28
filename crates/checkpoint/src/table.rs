//! The tensors of a checkpoint: where each lies, and a search by name. Invariant: every entry was
//! checked against the length of its file, names are unique.

use lucid_sys::Bytes;
use lucid_tensor::DType;

/// Dimensions, outermost first; at most four, as in ggml.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dims {
    sizes: [usize; Dims::MAX],
    len: u8,
}

impl Dims {
    /// ggml's `GGML_MAX_DIMS`.
    pub(crate) const MAX: usize = 4;

    /// `None` for no dimension, for more than four, for a dimension of 0, and if the product
    /// overflows.
    pub(crate) fn new(outermost_first: &[usize]) -> Option<Self> {
        let mut sizes = [1; Self::MAX];
        if outermost_first.is_empty() || outermost_first.len() > Self::MAX {
            return None;
        }
        let mut product = 1usize;
        for (slot, &size) in sizes.iter_mut().zip(outermost_first) {
            product = product.checked_mul(size).filter(|&p| p > 0)?;
            *slot = size;
        }
        Some(Self { sizes, len: outermost_first.len() as u8 })
    }

    pub(crate) fn as_slice(&self) -> &[usize] {
        &self.sizes[..usize::from(self.len)]
    }

    /// Bytes of a tensor of these dimensions; `None` if rows are no whole blocks or the product
    /// overflows.
    pub(crate) fn byte_count(&self, dtype: DType) -> Option<usize> {
        let (cols, outer) = self.as_slice().split_last()?;
        let rows: usize = outer.iter().product();
        dtype.row_bytes(*cols)?.checked_mul(rows)
    }
}

/// Where the elements of a tensor are.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In a mapped file.
    File { file: u32, offset: u64, len: usize },
    /// Made at opening because the file holds them in another form.
    Memory { file: Option<u32>, data: Bytes },
}

/// One tensor.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: Box<str>,
    pub(crate) dtype: DType,
    pub(crate) dims: Dims,
    pub(crate) place: Place,
    /// Where the file declares the tensor, for error messages.
    pub(crate) declared_at: u64,
}

impl Entry {
    /// Memory that one entry takes, beside its name's buffer: itself and its number in two orders.
    pub(crate) const COST: u64 = size_of::<Entry>() as u64 + 16;

    /// The number of the file that holds the tensor, or whose data it was made from; `None` for
    /// what is in none.
    pub(crate) fn file(&self) -> Option<usize> {
        match self.place {
            Place::File { file, .. } => Some(file as usize),
            Place::Memory { file, .. } => file.map(|file| file as usize),
        }
    }
}

/// All tensors, in the order of the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    entries: Vec<Entry>,
    by_name: Vec<u32>,
}

impl Table {
    /// Indexes the entries.
    ///
    /// # Errors
    /// The earlier and the later of two entries with the same name.
    pub(crate) fn new(entries: Vec<Entry>) -> Result<Self, Box<(Entry, Entry)>> {
        let mut by_name: Vec<u32> = (0..entries.len() as u32).collect();
        let name = |index: u32| &*entries[index as usize].name;
        by_name.sort_unstable_by(|&a, &b| name(a).cmp(name(b)).then(a.cmp(&b)));
        if let Some(pair) = by_name.windows(2).find(|pair| name(pair[0]) == name(pair[1])) {
            let entry = |index: u32| entries[index as usize].clone();
            return Err(Box::new((entry(pair[0]), entry(pair[1]))));
        }
        Ok(Self { entries, by_name })
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Entry> {
        let name_of = |index: &u32| &*self.entries[*index as usize].name;
        let found = self.by_name.binary_search_by(|index| name_of(index).cmp(name)).ok()?;
        Some(&self.entries[self.by_name[found] as usize])
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// Two entries of the same file whose bytes overlap, in the order of their offsets; expects entries
/// of one file.
pub(crate) fn overlap(entries: &[Entry]) -> Option<(&Entry, &Entry)> {
    let span = |entry: &Entry| match entry.place {
        Place::File { offset, len, .. } => (offset, offset + len as u64),
        Place::Memory { .. } => (0, 0),
    };
    let mut order: Vec<u32> = (0..entries.len() as u32).collect();
    order.sort_unstable_by_key(|&index| span(&entries[index as usize]));
    let pair = order.windows(2).find(|pair| {
        let (first, second) = (&entries[pair[0] as usize], &entries[pair[1] as usize]);
        span(first).1 > span(second).0
    })?;
    Some((&entries[pair[0] as usize], &entries[pair[1] as usize]))
}
