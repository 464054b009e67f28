//! A byte trie over a fixed set of keys, for longest match and for all prefixes. Chains without
//! branches are one node, so that a hostile vocabulary costs memory in proportion to its own bytes;
//! built level by level from sorted keys, without recursion.

/// No value, no node.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Node {
    /// Bytes to match before the node is reached, in `chains`.
    chain: u32,
    chain_len: u32,
    edges: u32,
    count: u16,
    value: u32,
}

/// Keys to values. Duplicate keys keep the first value given.
#[derive(Default)]
pub(crate) struct Trie {
    nodes: Vec<Node>,
    chains: Vec<u8>,
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
        // At most this; growing step by step would hold twice as much for a moment.
        trie.chains.reserve_exact(sorted.iter().map(|(key, _)| key.len() - 1).sum());
        let mut queue = std::collections::VecDeque::from([(0u32, sorted.len() as u32, 0u32)]);
        let mut next = 1u32;
        while let Some((low, high, depth)) = queue.pop_front() {
            let (mut low, high, mut depth) = (low as usize, high as usize, depth as usize);
            let (chain, from) = (trie.chains.len() as u32, depth);
            if depth > 0 {
                depth += common(&sorted[low].0[depth..], &sorted[high - 1].0[depth..]);
                trie.chains.extend_from_slice(&sorted[low].0[from..depth]);
            }
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
                queue.push_back((low as u32, end as u32, depth as u32 + 1));
                low = end;
            }
            let count = (trie.labels.len() as u32 - edges) as u16;
            let chain_len = (depth - from) as u32;
            trie.nodes.push(Node { chain, chain_len, edges, count, value });
        }
        trie.chains.shrink_to_fit();
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
            if node.chain_len > 0 {
                let chain = node.chain as usize..(node.chain + node.chain_len) as usize;
                if !text[length..].starts_with(&self.chains[chain]) {
                    return;
                }
                length += node.chain_len as usize;
            }
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

/// How many bytes two keys share at their start.
fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
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
        let keys = [&b"abcdef"[..], b"abcxyz", b"abcx", b"q"];
        let trie = Trie::new(keys.into_iter().zip(0..));
        assert_eq!(trie.nodes.len(), 6);
        for (text, expected) in [
            (&b"abcdefg"[..], Some((6, 0))),
            (b"abcxyy", Some((4, 2))),
            (b"abcxyz", Some((6, 1))),
            (b"abc", None),
            (b"abcde", None),
            (b"q", Some((1, 3))),
        ] {
            assert_eq!(trie.longest_prefix(text), expected);
        }
        assert!(Trie::new(std::iter::empty()).longest_prefix(b"x").is_none());
    }
}
