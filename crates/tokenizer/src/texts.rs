//! A list of texts that lie in one piece of memory, often the mapped file that they came from.
//! Invariant: every text lies inside that memory, which was checked when the list was made; a list
//! costs four bytes a text beside the texts themselves, and a copy of it nothing.

use std::fmt;
use std::ops::Index;
use std::sync::Arc;

/// Bytes that several owners read: a mapped file, or a buffer.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Texts by their number. They need not be UTF-8. Cloning copies nothing.
#[derive(Clone)]
pub struct TextList {
    bytes: SharedBytes,
    /// Text `i` is `bytes[starts[i]..starts[i + 1] - gap]`.
    starts: Arc<Vec<u32>>,
    /// Bytes that are no text in front of each text.
    gap: u32,
}

impl TextList {
    /// Texts in memory that somebody else owns. `starts` holds one number more than there are
    /// texts; text `i` is `bytes[starts[i]..starts[i + 1] - gap]`. `None` where that lies outside.
    pub fn shared(bytes: SharedBytes, starts: Arc<Vec<u32>>, gap: u32) -> Option<Self> {
        let ordered = starts.windows(2).all(|two| two[1].checked_sub(gap) >= Some(two[0]));
        let end = starts.last().map_or(0, |&end| u64::from(end));
        let len = (*bytes).as_ref().len() as u64;
        (ordered && end <= len + u64::from(gap)).then_some(Self { bytes, starts, gap })
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text of this number.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let (start, end) = (*self.starts.get(index)?, *self.starts.get(index + 1)?);
        (*self.bytes).as_ref().get(start as usize..(end - self.gap) as usize)
    }

    /// All texts in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|index| &self[index])
    }

    /// The number of the first of these texts that equals `text`.
    pub fn position(&self, text: &[u8]) -> Option<usize> {
        self.iter().position(|it| it == text)
    }

    /// Keeps the first `len` texts.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
            Arc::make_mut(&mut self.starts).truncate(len + 1);
        }
    }
}

impl Default for TextList {
    fn default() -> Self {
        TextBuilder::default().finish()
    }
}

impl Index<usize> for TextList {
    type Output = [u8];

    #[inline]
    fn index(&self, index: usize) -> &[u8] {
        let Some(text) = self.get(index) else {
            panic!("text {index} of a list of {}", self.len());
        };
        text
    }
}

impl PartialEq for TextList {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for TextList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(String::from_utf8_lossy)).finish()
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for TextList {
    /// # Panics
    /// If the texts take 4 GiB: file readers bound them long before.
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let mut list = TextBuilder::default();
        texts.into_iter().for_each(|text| list.push(text.as_ref()));
        list.finish()
    }
}

/// A list in the making.
pub(crate) struct TextBuilder {
    bytes: Vec<u8>,
    starts: Vec<u32>,
}

impl Default for TextBuilder {
    fn default() -> Self {
        Self { bytes: Vec::new(), starts: vec![0] }
    }
}

impl TextBuilder {
    /// Room for `count` texts of `bytes` bytes altogether.
    pub(crate) fn with_capacity(count: usize, bytes: usize) -> Self {
        let mut starts = Vec::with_capacity(count + 1);
        starts.push(0);
        Self { bytes: Vec::with_capacity(bytes), starts }
    }

    /// Number of texts so far.
    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Appends to the text that the next [`end`](Self::end) finishes.
    pub(crate) fn extend(&mut self, part: &[u8]) {
        self.bytes.extend_from_slice(part);
    }

    /// Finishes a text.
    ///
    /// # Panics
    /// If the texts take 4 GiB.
    pub(crate) fn end(&mut self) {
        let Ok(end) = u32::try_from(self.bytes.len()) else { panic!("4 GiB of texts") };
        self.starts.push(end);
    }

    /// Appends a text.
    pub(crate) fn push(&mut self, text: &[u8]) {
        self.extend(text);
        self.end();
    }

    pub(crate) fn finish(mut self) -> TextList {
        self.bytes.shrink_to_fit();
        self.starts.shrink_to_fit();
        TextList { bytes: Arc::new(self.bytes), starts: Arc::new(self.starts), gap: 0 }
    }
}

/// Texts whose lengths are known before they come, in any order: nothing is moved or grown.
pub(crate) struct TextPlaces {
    bytes: Vec<u8>,
    starts: Vec<u32>,
}

impl TextPlaces {
    /// From the length of each text. `None` for 4 GiB.
    pub(crate) fn new(mut lengths: Vec<u32>) -> Option<Self> {
        let mut total = 0u32;
        for slot in &mut lengths {
            let length = std::mem::replace(slot, total);
            total = total.checked_add(length)?;
        }
        lengths.reserve_exact(1);
        lengths.push(total);
        Some(Self { bytes: vec![0; total as usize], starts: lengths })
    }

    /// The place of a text.
    pub(crate) fn place(&mut self, index: usize) -> Option<&mut [u8]> {
        let (start, end) = (*self.starts.get(index)?, *self.starts.get(index + 1)?);
        self.bytes.get_mut(start as usize..end as usize)
    }

    pub(crate) fn finish(self) -> TextList {
        TextList { bytes: Arc::new(self.bytes), starts: Arc::new(self.starts), gap: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_every_origin_are_equal() {
        let texts: [&[u8]; 4] = [b"a", b"", b"\xFF\xFE", b"bc"];
        let collected: TextList = texts.iter().collect();
        let file: SharedBytes = Arc::new(b"..a....\xFF\xFE..bc!".to_vec());
        let starts = Arc::new(vec![2, 5, 7, 11, 15]);
        let shared = TextList::shared(Arc::clone(&file), starts, 2).unwrap();
        let mut places = TextPlaces::new(vec![1, 0, 2, 2]).unwrap();
        for index in [3, 0, 2] {
            places.place(index).unwrap().copy_from_slice(texts[index]);
        }
        assert!(places.place(4).is_none());
        for mut list in [collected.clone(), shared, places.finish()] {
            assert_eq!(list, collected);
            assert_eq!((list.len(), list.get(4), list.position(b"bc")), (4, None, Some(3)));
            assert_eq!(format!("{list:?}"), "[\"a\", \"\", \"\u{FFFD}\u{FFFD}\", \"bc\"]");
            list.truncate(1);
            assert_eq!(list.iter().collect::<Vec<_>>(), [b"a"]);
        }
        let outside = [vec![2, 5, 20], vec![5, 2], vec![2, 3, 7], vec![0, 1]];
        for starts in outside {
            assert!(TextList::shared(Arc::clone(&file), Arc::new(starts), 2).is_none());
        }
        assert!(TextList::default().is_empty());
        assert!(TextPlaces::new(vec![u32::MAX, 1]).is_none());
    }
}
