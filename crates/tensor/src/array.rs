//! Arrays of metadata, as slices of the file that they came from: nothing is copied or widened, so
//! that a file cannot make its reader take more memory than a few bytes for each text. Invariant:
//! every text and number lies inside the bytes, which was checked when the array was made.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Index;
use std::sync::Arc;

use lucid_sys::Bytes;

/// A number of an array: the type that readers see, whatever the width in the file.
pub trait Number: Copy + PartialEq + fmt::Debug + sealed::Sealed {
    /// From its bytes in the file, little endian: one, two, four or eight.
    fn from_file(bytes: &[u8]) -> Self;
    /// Its bytes, at full width.
    fn to_file(self) -> impl IntoIterator<Item = u8>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for u64 {}
    impl Sealed for i64 {}
    impl Sealed for f32 {}
}

impl Number for u64 {
    fn from_file(bytes: &[u8]) -> Self {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        Self::from_le_bytes(wide)
    }

    fn to_file(self) -> impl IntoIterator<Item = u8> {
        self.to_le_bytes()
    }
}

impl Number for i64 {
    fn from_file(bytes: &[u8]) -> Self {
        let unused = 64 - 8 * bytes.len() as u32;
        // The sign moves up, then down again through the bits that were not there.
        (u64::from_file(bytes) << unused) as Self >> unused
    }

    fn to_file(self) -> impl IntoIterator<Item = u8> {
        self.to_le_bytes()
    }
}

impl Number for f32 {
    fn from_file(bytes: &[u8]) -> Self {
        match *bytes {
            [a, b, c, d] => Self::from_le_bytes([a, b, c, d]),
            _ => f64::from_bits(u64::from_file(bytes)) as Self,
        }
    }

    fn to_file(self) -> impl IntoIterator<Item = u8> {
        self.to_le_bytes()
    }
}

/// Numbers, decoded when they are read.
#[derive(Clone)]
pub struct Numbers<T> {
    bytes: Bytes,
    /// Bytes of each.
    width: usize,
    of: PhantomData<T>,
}

impl<T: Number> Numbers<T> {
    /// Numbers of `width` bytes each. `None` for a width of none of 1, 2, 4, 8 (f32: 4, 8), and
    /// where the last is incomplete.
    pub fn new(bytes: Bytes, width: usize) -> Option<Self> {
        let fits = matches!(width, 1 | 2 | 4 | 8) && bytes.len().is_multiple_of(width);
        fits.then_some(Self { bytes, width, of: PhantomData })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.width
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All of them in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = T> + '_ {
        self.bytes.chunks_exact(self.width).map(T::from_file)
    }

    /// A copy at full width.
    pub fn to_vec(&self) -> Vec<T> {
        self.iter().collect()
    }
}

impl<T: Number> From<Vec<T>> for Numbers<T> {
    fn from(numbers: Vec<T>) -> Self {
        let bytes: Vec<u8> = numbers.into_iter().flat_map(Number::to_file).collect();
        Self { bytes: Bytes::from(bytes), width: size_of::<T>(), of: PhantomData }
    }
}

impl<T: Number> PartialEq for Numbers<T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<T: Number> fmt::Debug for Numbers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Texts, each with its length in front of it. They need not be UTF-8: vocabularies hold pieces
/// that are not.
#[derive(Clone)]
pub struct Texts {
    bytes: Bytes,
    /// Text `i` is `bytes[starts[i]..starts[i + 1] - LENGTH_BYTES]`.
    starts: Arc<Vec<u32>>,
}

impl Texts {
    /// Bytes in front of each text: its length, as GGUF has it.
    pub const LENGTH_BYTES: u32 = 8;

    /// Texts in a part of a file. `starts` holds the start of each, and the end of the bytes plus
    /// [`LENGTH_BYTES`](Self::LENGTH_BYTES). `None` where a text lies outside.
    pub fn new(bytes: Bytes, starts: Vec<u32>) -> Option<Self> {
        let gap = Self::LENGTH_BYTES;
        let ordered = starts.windows(2).all(|two| two[1].checked_sub(gap) >= Some(two[0]));
        let end = u64::from(*starts.last()?);
        (ordered && end <= bytes.len() as u64 + u64::from(gap))
            .then(|| Self { bytes, starts: Arc::new(starts) })
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|index| &self[index])
    }

    /// The bytes that they lie in, and where: see [`new`](Self::new).
    pub fn parts(&self) -> (&Bytes, &Arc<Vec<u32>>) {
        (&self.bytes, &self.starts)
    }
}

impl Index<usize> for Texts {
    type Output = [u8];

    fn index(&self, index: usize) -> &[u8] {
        let end = self.starts[index + 1] - Self::LENGTH_BYTES;
        &self.bytes[self.starts[index] as usize..end as usize]
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Texts {
    /// # Panics
    /// If the texts take 4 GiB.
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let mut bytes = Vec::new();
        let start = |bytes: &Vec<u8>| {
            let Ok(end) = u32::try_from(bytes.len()) else { panic!("4 GiB of texts") };
            end + Self::LENGTH_BYTES
        };
        let mut starts = vec![start(&bytes)];
        for text in texts {
            let text = text.as_ref();
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text);
            starts.push(start(&bytes));
        }
        Self { bytes: Bytes::from(bytes), starts: Arc::new(starts) }
    }
}

impl PartialEq for Texts {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(String::from_utf8_lossy)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_width() {
        let numbers = |width| {
            let bytes = Bytes::from(vec![1, 2, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
            let signed = Numbers::<i64>::new(bytes.clone(), width).unwrap().to_vec();
            (Numbers::<u64>::new(bytes, width).unwrap().to_vec(), signed)
        };
        assert_eq!(numbers(2), (vec![0x201, 0xFF00, 0xFFFF, 0xFFFF], vec![0x201, -256, -1, -1]));
        assert_eq!(numbers(1).1, [1, 2, 0, -1, -1, -1, -1, -1]);
        assert_eq!(numbers(4).1, [-0xFF_FDFF, -1]);
        assert_eq!(numbers(8).1, [-0xFF_FDFF]);
        let wide = Bytes::from(1.5f64.to_le_bytes().to_vec());
        assert_eq!(Numbers::<f32>::new(wide.clone(), 8).unwrap().to_vec(), [1.5]);
        assert!(Numbers::<f32>::new(wide.slice(0..6).unwrap(), 4).is_none());
        let made = Numbers::from(vec![-3i64, 5]);
        assert_eq!((made.to_vec(), made.len(), made.is_empty()), (vec![-3, 5], 2, false));
        assert_eq!(Numbers::from(vec![0.5f32]).to_vec(), [0.5]);
    }

    #[test]
    fn texts_lie_inside() {
        let made: Texts = [&b"a"[..], b"", b"\xFF"].iter().collect();
        let (bytes, starts) = made.parts();
        let again = Texts::new(bytes.clone(), starts.to_vec()).unwrap();
        assert_eq!(again, made);
        assert_eq!(format!("{again:?}"), "[\"a\", \"\", \"\u{FFFD}\"]");
        for starts in [vec![8, 30, 60], vec![8, 9], vec![20, 17], vec![]] {
            assert!(Texts::new(bytes.clone(), starts).is_none());
        }
        assert!(Texts::from_iter([""; 0]).is_empty());
    }
}
