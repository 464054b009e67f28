//! A byte trie over some texts of a list, for longest match and for all prefixes. Chains without
//! branches are one node and stay where the texts are, so that a vocabulary costs a fixed number of
//! bytes for each key, whatever its length; built level by level from sorted keys, without
//! recursion and without a queue beside the nodes.

use crate::texts::TextList;

/// No node.
const NONE: u32 = u32::MAX;
/// In `Node::chain`: a key ends here.
const ENDS: u32 = 1 << 31;

/// A node. While it waits to be built: the first of its keys, the end of them, and its depth.
#[derive(Clone, Copy)]
struct Node {
    /// A key through this node: the one that ends here, if one does.
    key: u32,
    /// Its first child; its last is the one before the next node's first.
    edges: u32,
    /// Bytes of the key to match before the node is reached, and `ENDS`.
    chain: u32,
}

/// Keys by their bytes. Of equal keys the one with the lowest number counts.
#[derive(Default)]
pub(crate) struct Trie {
    texts: TextList,
    skip: usize,
    nodes: Vec<Node>,
    /// The byte that leads to each node.
    labels: Vec<u8>,
    root: Vec<u32>,
}

impl Trie {
    /// Bytes for each key: two nodes with their labels, and its place in the order.
    pub(crate) const COST: usize = 2 * (size_of::<Node>() + 1) + 4;

    /// From the numbers of texts, of which the first `skip` bytes do not count; texts that are not
    /// longer are ignored.
    pub(crate) fn new(texts: &TextList, skip: usize, mut keys: Vec<u32>) -> Self {
        let text = |key: u32| &texts[key as usize][skip..];
        keys.retain(|key| texts[*key as usize].len() > skip);
        keys.sort_unstable_by(|a, b| text(*a).cmp(text(*b)).then(a.cmp(b)));
        keys.dedup_by(|later, first| text(*later) == text(*first));
        let mut nodes = Vec::with_capacity(2 * keys.len() + 2);
        let mut labels = Vec::with_capacity(2 * keys.len() + 2);
        nodes.push(Node { key: 0, edges: keys.len() as u32, chain: 0 });
        labels.push(0);
        let mut at = 0;
        while at < nodes.len() {
            let Node { key, edges, chain } = nodes[at];
            let (mut low, high, start) = (key as usize, edges as usize, chain as usize);
            let mut node = Node { key: NONE, edges: nodes.len() as u32, chain: 0 };
            let mut depth = start;
            if low < high {
                node.key = keys[low];
                let (first, last) = (text(keys[low]), text(keys[high - 1]));
                // The root has no bytes: its children are found by their first.
                depth += if at > 0 { common(&first[start..], &last[start..]) } else { 0 };
                node.chain = (depth - start) as u32;
                if first.len() == depth {
                    node.chain |= ENDS;
                    low += 1;
                }
            }
            while low < high {
                let label = text(keys[low])[depth];
                let rest = &keys[low..high];
                let end = low + rest.partition_point(|key| text(*key)[depth] == label);
                nodes.push(Node { key: low as u32, edges: end as u32, chain: depth as u32 + 1 });
                labels.push(label);
                low = end;
            }
            nodes[at] = node;
            at += 1;
        }
        let mut root = vec![NONE; 256];
        for child in nodes[0].edges as usize..nodes.get(1).map_or(1, |node| node.edges as usize) {
            root[labels[child] as usize] = child as u32;
        }
        nodes.push(Node { key: NONE, edges: nodes.len() as u32, chain: 0 });
        nodes.shrink_to_fit();
        labels.shrink_to_fit();
        Self { texts: texts.clone(), skip, nodes, labels, root }
    }

    /// Whether there is no key.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.len() < 2
    }

    /// Whether a key begins with this byte.
    #[inline]
    pub(crate) fn begins(&self, byte: u8) -> bool {
        self.root.get(byte as usize).is_some_and(|&node| node != NONE)
    }

    /// Calls `found(length, key)` for each key that `text` starts with, shortest first.
    #[inline]
    pub(crate) fn prefixes(&self, text: &[u8], mut found: impl FnMut(usize, u32)) {
        let Some(first) = text.first() else { return };
        let mut at = self.root.get(*first as usize).copied().unwrap_or(NONE);
        let mut length = 1;
        while at != NONE {
            let node = self.nodes[at as usize];
            let chain = (node.chain & !ENDS) as usize;
            if chain > 0 {
                let from = self.skip + length;
                let key = &self.texts[node.key as usize][from..from + chain];
                if !text[length..].starts_with(key) {
                    return;
                }
                length += chain;
            }
            if node.chain & ENDS != 0 {
                found(length, node.key);
            }
            let Some(&byte) = text.get(length) else { return };
            at = self.step(node.edges as usize..self.nodes[at as usize + 1].edges as usize, byte);
            length += 1;
        }
    }

    #[inline]
    fn step(&self, children: std::ops::Range<usize>, byte: u8) -> u32 {
        let labels = &self.labels[children.clone()];
        let edge = if labels.len() <= 8 {
            labels.iter().position(|&label| label == byte)
        } else {
            labels.binary_search(&byte).ok()
        };
        edge.map_or(NONE, |edge| (children.start + edge) as u32)
    }

    /// The longest key that `text` starts with.
    pub(crate) fn longest_prefix(&self, text: &[u8]) -> Option<(usize, u32)> {
        let mut best = None;
        self.prefixes(text, |length, key| best = Some((length, key)));
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

    fn trie(keys: &[&str], skip: usize) -> Trie {
        Trie::new(&keys.iter().collect(), skip, (0..keys.len() as u32).collect())
    }

    #[test]
    fn finds_all_prefixes() {
        let keys: Vec<String> = (0..300u32).map(|i| i.to_string()).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let numbers = trie(&keys, 0);
        let mut found = Vec::new();
        numbers.prefixes(b"2999", |length, value| found.push((length, value)));
        assert_eq!(found, [(1, 2), (2, 29), (3, 299)]);
        assert_eq!(numbers.longest_prefix(b"x"), None);
        let keys = ["abcdef", "abcxyz", "abcx", "q", "", "q"];
        let letters = trie(&keys, 0);
        // Root, `abc`, `def`, `x`, `yz`, `q`, and the end of the last one's children.
        assert_eq!(letters.nodes.len(), 7);
        for (text, expected) in [
            (&b"abcdefg"[..], Some((6, 0))),
            (b"abcxyy", Some((4, 2))),
            (b"abcxyz", Some((6, 1))),
            (b"abc", None),
            (b"abcde", None),
            (b"q", Some((1, 3))),
        ] {
            assert_eq!(letters.longest_prefix(text), expected);
        }
        assert_eq!(trie(&["__ab", "__a", "__"], 2).longest_prefix(b"abc"), Some((2, 0)));
        assert!(trie(&[], 0).longest_prefix(b"x").is_none() && trie(&[""], 0).is_empty());
        assert!(!letters.is_empty() && Trie::default().is_empty());
    }

    /// No more nodes than were paid for, whatever the keys.
    #[test]
    fn nodes_are_bounded() {
        let keys: Vec<String> = (0..2000u32).map(|i| format!("{:b}", i * 37)).collect();
        let built = Trie::new(&keys.iter().collect(), 0, (0..2000).collect());
        assert!(built.nodes.len() <= 2 * 2000 + 2, "{}", built.nodes.len());
        assert!(
            keys.iter().all(|key| built.longest_prefix(key.as_bytes()).unwrap().0 == key.len())
        );
    }
}
