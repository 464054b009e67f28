//! A byte trie over a fixed set of keys, for longest match and for all prefixes. Built level by
//! level from sorted keys, so that a hostile vocabulary costs memory in proportion to its own bytes
//! and no recursion.

/// No value, no node.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Node {
    edges: u32,
    count: u16,
    value: u32,
}

/// Keys to values. Duplicate keys keep the first value given.
#[derive(Default)]
pub(crate) struct Trie {
    nodes: Vec<Node>,
    labels: Vec<u8>,
    targets: Vec<u32>,
    root: Vec<u32>,
}

impl Trie {
    /// From keys with their values; empty keys are ignored.
    pub(crate) fn new<'a>(keys: impl Iterator<Item = (&'a [u8], u32)>) -> Self {
        let mut sorted: Vec<(&[u8], u32)> = keys.filter(|(key, _)| !key.is_empty()).collect();
        sorted.sort_by(|a, b| a.0.cmp(b.0));
        sorted.dedup_by(|later, first| later.0 == first.0);
        let mut trie = Self::default();
        let mut queue = std::collections::VecDeque::from([(0usize, sorted.len(), 0usize)]);
        let mut next = 1u32;
        while let Some((mut low, high, depth)) = queue.pop_front() {
            let mut value = NONE;
            if low < high && sorted[low].0.len() == depth {
                value = sorted[low].1;
                low += 1;
            }
            let edges = trie.labels.len() as u32;
            while low < high {
                let label = sorted[low].0[depth];
                let end = low + sorted[low..high].partition_point(|(key, _)| key[depth] == label);
                trie.labels.push(label);
                trie.targets.push(next);
                next += 1;
                queue.push_back((low, end, depth + 1));
                low = end;
            }
            let count = (trie.labels.len() as u32 - edges) as u16;
            trie.nodes.push(Node { edges, count, value });
        }
        trie.root = vec![NONE; 256];
        for edge in 0..trie.nodes[0].count as usize {
            trie.root[trie.labels[edge] as usize] = trie.targets[edge];
        }
        trie
    }

    /// Whether there is no key.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Calls `found(length, value)` for each key that `text` starts with, shortest first.
    #[inline]
    pub(crate) fn prefixes(&self, text: &[u8], mut found: impl FnMut(usize, u32)) {
        let Some(first) = text.first() else { return };
        let mut at = self.root.get(*first as usize).copied().unwrap_or(NONE);
        let mut length = 1;
        while at != NONE {
            let node = self.nodes[at as usize];
            if node.value != NONE {
                found(length, node.value);
            }
            let Some(&byte) = text.get(length) else { return };
            at = self.step(node, byte);
            length += 1;
        }
    }

    #[inline]
    fn step(&self, node: Node, byte: u8) -> u32 {
        let range = node.edges as usize..node.edges as usize + node.count as usize;
        let labels = &self.labels[range.clone()];
        let edge = if labels.len() <= 8 {
            labels.iter().position(|&label| label == byte)
        } else {
            labels.binary_search(&byte).ok()
        };
        edge.map_or(NONE, |edge| self.targets[range.start + edge])
    }

    /// The longest key that `text` starts with.
    pub(crate) fn longest_prefix(&self, text: &[u8]) -> Option<(usize, u32)> {
        let mut best = None;
        self.prefixes(text, |length, value| best = Some((length, value)));
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_all_prefixes() {
        let keys: Vec<Vec<u8>> = (0..300u32).map(|i| i.to_string().into_bytes()).collect();
        let trie = Trie::new(keys.iter().enumerate().map(|(i, k)| (k.as_slice(), i as u32)));
        let mut found = Vec::new();
        trie.prefixes(b"2999", |length, value| found.push((length, value)));
        assert_eq!(found, [(1, 2), (2, 29), (3, 299)]);
        assert_eq!(trie.longest_prefix(b"x"), None);
        assert!(Trie::new(std::iter::empty()).longest_prefix(b"x").is_none());
    }
}
