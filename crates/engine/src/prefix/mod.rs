//! Full KV blocks of sequences that were computed before, found again by their content: a radix
//! tree whose edges are `KV_BLOCK_LEN` token ids. Source of the idea: Zheng et al., "SGLang",
//! arXiv:2312.07104, section 3 (RadixAttention); here edges have one fixed length, as keys and
//! values are kept by the block.
//!
//! Invariants: (1) an edge is found by comparing its scope, its parent and all its tokens, never by
//! a hash alone; (2) who owns a block of the tree owns the blocks of all edges above it, so a block
//! that only the tree owns has no descendant that anybody else owns, and everything idle can be
//! evicted, leaves first; (3) nothing here iterates over a hash map, so what is evicted depends on
//! the order of calls alone.

mod scope;

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use lucid_tensor::{KV_BLOCK_LEN, KvBlockId, TokenId};

use crate::disk::{DiskTier, Name, Wanted};
use crate::kv::BlockAllocator;

pub use scope::{ClientId, Scope};

/// The tree. See the module's text.
#[derive(Debug, Default)]
pub(crate) struct PrefixCache {
    edges: HashMap<Edge, usize>,
    /// Nodes by number; vacant ones are listed in `vacant`.
    nodes: Vec<Option<Node>>,
    vacant: Vec<usize>,
    /// Nodes without children, least recently used first.
    leaves: BTreeSet<(u64, usize)>,
    /// Counts calls; says which use was later.
    clock: u64,
    evictions: u64,
}

/// What leads to a node: where from, and the tokens of its block.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Edge {
    from: Origin,
    tokens: [TokenId; KV_BLOCK_LEN],
}

/// Where an edge begins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Origin {
    /// At the beginning of the sequences of a scope.
    Start(Scope),
    /// At a node's end. Its number is not given away while it has children.
    Node(usize),
}

#[derive(Debug)]
struct Node {
    edge: Edge,
    block: KvBlockId,
    children: usize,
    used: u64,
    /// What is known of it on disk.
    saved: Option<Saved>,
}

/// A block that is on disk, or waits to be written.
#[derive(Clone, Copy, Debug)]
struct Saved {
    name: Name,
    /// When the disk was last told that it is used.
    told: Instant,
    /// How often the disk had lost blocks by then.
    losses: u64,
}

/// The disk is told again that a block is used after so long.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(600);

impl PrefixCache {
    /// The blocks of the longest known beginning of `tokens`, in whole blocks. The caller becomes
    /// an owner of each.
    pub(crate) fn adopt(
        &mut self,
        scope: &Scope,
        tokens: &[TokenId],
        blocks: &mut BlockAllocator,
    ) -> Vec<KvBlockId> {
        self.clock += 1;
        let mut found = Vec::new();
        let mut from = Origin::Start(scope.clone());
        for &tokens in tokens.as_chunks().0 {
            let edge = Edge { from, tokens };
            let Some(&node) = self.edges.get(&edge) else { break };
            let block = self.touch(node);
            blocks.share(block);
            found.push(block);
            from = Origin::Node(node);
        }
        found
    }

    /// Keeps the full blocks of a sequence. Where the tree has a block of the same content, the
    /// sequence's `table` is made to use that one, which invariant (2) rests on; so does it that no
    /// block is taken in that another sequence owns as well. Returns the nodes of the blocks that
    /// are kept now, from the first one on.
    pub(crate) fn publish(
        &mut self,
        scope: &Scope,
        tokens: &[TokenId],
        table: &mut [KvBlockId],
        blocks: &mut BlockAllocator,
    ) -> Vec<usize> {
        self.clock += 1;
        let mut from = Origin::Start(scope.clone());
        let mut path = Vec::new();
        for (&tokens, block) in tokens.as_chunks().0.iter().zip(table) {
            let edge = Edge { from, tokens };
            let node = if let Some(&node) = self.edges.get(&edge) {
                let known = self.touch(node);
                if known != *block {
                    blocks.share(known);
                    blocks.release(*block);
                    *block = known;
                }
                node
            } else if blocks.is_shared(*block) {
                // The tree has it under another scope; or its other owner may, at once or since an
                // earlier call, hold another block above it, which then could not be evicted.
                break;
            } else {
                blocks.keep(*block);
                self.insert(edge, *block)
            };
            path.push(node);
            from = Origin::Node(node);
        }
        path
    }

    /// Lets those blocks of a path be written that are not on disk, and says that the others are
    /// used. `payload` shows a block's bytes.
    pub(crate) fn save<'a>(
        &mut self,
        scope: &Scope,
        path: &[usize],
        disk: &DiskTier,
        payload: impl Fn(KvBlockId) -> &'a [u8],
    ) {
        let (now, losses) = (Instant::now(), disk.losses());
        // Others may remove files as well: the end of what was used together goes first.
        let last = path.iter().rev().find_map(|&node| self.node(node).saved);
        let lost = last.is_some_and(|last| disk.is_idle() && !disk.has(&last.name));
        let mut parent = None;
        for (index, &node) in path.iter().enumerate() {
            let Node { edge: Edge { tokens, .. }, saved, .. } = self.node_mut(node);
            let name = if let Some(saved) = saved {
                saved.name
            } else {
                let parent = parent.unwrap_or_else(|| disk.keys.root(scope));
                disk.keys.child(&parent, tokens)
            };
            parent = Some(name);
            let old = |saved: &Saved| now.duration_since(saved.told) > TOLD_AGAIN_AFTER;
            let there =
                |it: &&mut Saved| !(lost || it.losses != losses || old(it)) || disk.has(&name);
            if let Some(saved) = saved.as_mut().filter(there) {
                if old(saved) {
                    disk.note_use(name, index);
                    saved.told = now;
                }
                saved.losses = losses;
            } else {
                self.write(node, name, index, disk, &payload);
            }
        }
    }

    /// Lets blocks be written that there was no room for when they were published, until one finds
    /// no room again. Returns how many there was room for, and whether that is all.
    pub(crate) fn save_rest<'a>(
        &mut self,
        disk: &DiskTier,
        payload: impl Fn(KvBlockId) -> &'a [u8],
    ) -> (usize, bool) {
        let mut taken = 0;
        for node in 0..self.nodes.len() {
            let unsaved = self.nodes[node].as_ref().filter(|node| node.saved.is_none());
            let Some(&Node { block, .. }) = unsaved else { continue };
            if !disk.takes(payload(block).len()) {
                return (taken, false);
            }
            let (name, index) = self.name(node, disk);
            taken += usize::from(self.write(node, name, index, disk, &payload));
        }
        (taken, true)
    }

    /// Lets a block be written. Returns whether there was room for it.
    fn write<'a>(
        &mut self,
        node: usize,
        name: Name,
        index: usize,
        disk: &DiskTier,
        payload: impl Fn(KvBlockId) -> &'a [u8],
    ) -> bool {
        let Node { edge: Edge { tokens, .. }, block, saved, .. } = self.node_mut(node);
        // Asked before: what is lost from here on may be this one.
        let (told, losses) = (Instant::now(), disk.losses());
        let wanted = Wanted { name, tokens: *tokens, index };
        let taken = disk.write(&wanted, payload(*block));
        *saved = taken.then_some(Saved { name, told, losses });
        taken
    }

    /// What the block of a node is called on disk, and which of its sequence it is.
    fn name(&self, node: usize, disk: &DiskTier) -> (Name, usize) {
        let mut above = vec![node];
        let scope = loop {
            match &self.node(above[above.len() - 1]).edge.from {
                Origin::Start(scope) => break scope,
                Origin::Node(parent) => above.push(*parent),
            }
        };
        let saved = |&node: &usize| self.node(node).saved.map(|saved| saved.name);
        let known = above.iter().position(|node| saved(node).is_some()).unwrap_or(above.len());
        let last = above.get(known).and_then(saved).unwrap_or_else(|| disk.keys.root(scope));
        let rest = above[..known].iter().rev();
        let tokens = rest.map(|&node| &self.node(node).edge.tokens);
        let name = tokens.fold(last, |last, tokens| disk.keys.child(&last, tokens));
        (name, above.len() - 1)
    }

    /// Notes that blocks of a path are on disk: `names` are those of its last ones.
    pub(crate) fn note_saved(&mut self, path: &[usize], names: &[Name], disk: &DiskTier) {
        let (told, losses) = (Instant::now(), disk.losses());
        for (&node, &name) in path.iter().rev().zip(names.iter().rev()) {
            self.node_mut(node).saved = Some(Saved { name, told, losses });
        }
    }

    /// Gives up the least recently used block that only the tree owns. `false` if there is none.
    pub(crate) fn evict(&mut self, blocks: &mut BlockAllocator) -> bool {
        // Leaves in use are as many as live sequences at most, so this does not look far.
        let block = |&(_, node): &(u64, usize)| self.node(node).block;
        let idle = self.leaves.iter().find(|leaf| blocks.is_idle(block(leaf))).copied();
        let Some((_, node)) = idle else { return false };
        self.evictions += 1;
        blocks.discard(self.remove(node));
        true
    }

    /// Gives up all blocks; those of live sequences stay theirs.
    pub(crate) fn clear(&mut self, blocks: &mut BlockAllocator) {
        for node in std::mem::take(&mut self.nodes).into_iter().flatten() {
            blocks.discard(node.block);
        }
        *self = Self { clock: self.clock, evictions: self.evictions, ..Self::default() };
    }

    /// How many blocks were given up because others were needed.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Notes that a node was used, and says which block it has.
    fn touch(&mut self, index: usize) -> KvBlockId {
        let clock = self.clock;
        let node = self.node_mut(index);
        let before = std::mem::replace(&mut node.used, clock);
        let (block, leaf) = (node.block, node.children == 0);
        if leaf {
            self.leaves.remove(&(before, index));
            self.leaves.insert((clock, index));
        }
        block
    }

    fn insert(&mut self, edge: Edge, block: KvBlockId) -> usize {
        if let Origin::Node(parent) = edge.from {
            let node = self.node_mut(parent);
            node.children += 1;
            let used = node.used;
            self.leaves.remove(&(used, parent));
        }
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.nodes.push(None);
            self.nodes.len() - 1
        });
        self.edges.insert(edge.clone(), index);
        self.leaves.insert((self.clock, index));
        self.nodes[index] = Some(Node { edge, block, children: 0, used: self.clock, saved: None });
        index
    }

    /// Removes a leaf and returns its block.
    fn remove(&mut self, index: usize) -> KvBlockId {
        let node = self.nodes[index].take().expect("a leaf is a node");
        self.edges.remove(&node.edge);
        self.leaves.remove(&(node.used, index));
        self.vacant.push(index);
        if let Origin::Node(parent) = node.edge.from {
            let above = self.node_mut(parent);
            above.children -= 1;
            if above.children == 0 {
                let used = above.used;
                self.leaves.insert((used, parent));
            }
        }
        node.block
    }

    fn node(&self, index: usize) -> &Node {
        self.nodes[index].as_ref().expect("edges and leaves name nodes")
    }

    fn node_mut(&mut self, index: usize) -> &mut Node {
        self.nodes[index].as_mut().expect("edges and leaves name nodes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture {
        cache: PrefixCache,
        blocks: BlockAllocator,
    }

    impl Fixture {
        fn new(limit: usize) -> Self {
            Self { cache: PrefixCache::default(), blocks: BlockAllocator::new(limit) }
        }

        /// Computes and publishes a sequence; returns its table.
        fn sequence(&mut self, scope: &Scope, tokens: &[TokenId]) -> Vec<KvBlockId> {
            let mut table = self.cache.adopt(scope, tokens, &mut self.blocks);
            while table.len() < tokens.len().div_ceil(KV_BLOCK_LEN) {
                while self.blocks.take().map(|block| table.push(block)).is_err() {
                    assert!(self.cache.evict(&mut self.blocks), "no block is left");
                }
            }
            self.cache.publish(scope, tokens, &mut table, &mut self.blocks);
            table
        }

        fn end(&mut self, table: Vec<KvBlockId>) {
            for block in table {
                self.blocks.release(block);
            }
        }

        /// How many blocks of these tokens are known.
        fn known(&mut self, scope: &Scope, tokens: &[TokenId]) -> usize {
            let found = self.cache.adopt(scope, tokens, &mut self.blocks);
            let count = found.len();
            self.end(found);
            count
        }
    }

    fn scope(client: u64, key: &[u8]) -> Scope {
        Scope::new(ClientId(client), key)
    }

    /// Tokens of blocks that all have one number each.
    fn tokens(blocks: &[TokenId]) -> Vec<TokenId> {
        blocks.iter().flat_map(|&block| [block; KV_BLOCK_LEN]).collect()
    }

    #[test]
    fn the_longest_known_beginning_is_found() {
        let mut fixture = Fixture::new(9);
        let a = scope(1, b"");
        let table = fixture.sequence(&a, &tokens(&[1, 2, 3])[..150]);
        assert_eq!(fixture.known(&a, &tokens(&[1, 2, 3])), 2);
        assert_eq!(fixture.known(&a, &tokens(&[1, 9])), 1);
        assert_eq!(fixture.known(&a, &tokens(&[2])), 0);
        assert_eq!(fixture.known(&a, &tokens(&[1])[..63]), 0);
        // One token differs, the last one of a block.
        let mut other = tokens(&[1, 2]);
        other[127] = 7;
        assert_eq!(fixture.known(&a, &other), 1);
        for stranger in [scope(2, b""), scope(1, b"x"), scope(0, b"")] {
            assert_eq!(fixture.known(&stranger, &tokens(&[1, 2])), 0);
        }
        fixture.end(table);
        assert_eq!((fixture.blocks.in_use(), fixture.blocks.idle()), (0, 2));
        fixture.cache.clear(&mut fixture.blocks);
        assert_eq!((fixture.blocks.in_use(), fixture.blocks.idle()), (0, 0));
    }

    /// Two sequences share their blocks, a third one published the same beginning. If the first now
    /// hung its second block under the third one's, the second sequence would keep that from being
    /// evicted, and what counts as available would not be.
    #[test]
    fn what_is_idle_can_be_evicted_although_others_share_its_descendants() {
        let mut fixture = Fixture::new(4);
        let a = scope(1, b"");
        let mut first: Vec<_> = (0..2).map(|_| fixture.blocks.take().unwrap()).collect();
        let second = first.clone();
        for &block in &second {
            fixture.blocks.share(block);
        }
        let third = fixture.sequence(&a, &tokens(&[1]));
        for _ in 0..2 {
            fixture.cache.publish(&a, &tokens(&[1, 2]), &mut first, &mut fixture.blocks);
            assert_eq!(first[0], third[0]);
        }
        fixture.end(first);
        fixture.end(third);
        assert_eq!(fixture.blocks.available(), 2);
        for _ in 0..2 {
            while fixture.blocks.take().is_err() {
                assert!(fixture.cache.evict(&mut fixture.blocks), "it cannot be evicted");
            }
        }
        fixture.end(second);
    }

    #[test]
    fn the_least_recently_used_goes_first_and_no_parent_before_its_child() {
        let mut fixture = Fixture::new(4);
        let a = scope(1, b"");
        let first = fixture.sequence(&a, &tokens(&[1, 2]));
        let second = fixture.sequence(&a, &tokens(&[5]));
        fixture.end(first);
        fixture.end(second);
        assert_eq!(fixture.known(&a, &tokens(&[1])), 1);
        // Two free or idle places suffice: the child 2 is older than 5.
        let third = fixture.sequence(&a, &tokens(&[6, 7]));
        assert_eq!(fixture.known(&a, &tokens(&[1, 2])), 1);
        assert_eq!(fixture.known(&a, &tokens(&[5])), 1);
        // The block 1 was used before 5 now, and 6 and 7 are in use.
        let fourth = fixture.sequence(&a, &tokens(&[8]));
        assert_eq!(fixture.known(&a, &tokens(&[1])), 0);
        assert_eq!(fixture.known(&a, &tokens(&[5])), 1);
        fixture.sequence(&a, &tokens(&[9]));
        assert!(!fixture.cache.evict(&mut fixture.blocks), "all blocks are in use");
        fixture.end(third);
        fixture.end(fourth);
        assert_eq!((fixture.blocks.in_use(), fixture.blocks.idle()), (1, 3));
        while fixture.cache.evict(&mut fixture.blocks) {}
        assert_eq!((fixture.blocks.in_use(), fixture.blocks.idle()), (1, 0));
    }

    #[test]
    fn what_is_computed_twice_is_kept_once() {
        let mut fixture = Fixture::new(4);
        let a = scope(1, b"");
        let mut tables = [0, 1].map(|_| vec![fixture.blocks.take().unwrap()]);
        for table in &mut tables {
            fixture.cache.publish(&a, &tokens(&[1]), table, &mut fixture.blocks);
        }
        assert_eq!(tables[0], tables[1]);
        assert_eq!(fixture.blocks.in_use(), 1);
        for table in tables {
            fixture.end(table);
        }
        assert_eq!((fixture.blocks.in_use(), fixture.blocks.idle()), (0, 1));
    }
}
