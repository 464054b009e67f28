//! Top-k: keeps the k most probable tokens. Source: Fan et al., "Hierarchical Neural Story
//! Generation", arXiv:1805.04833, section 5.4.

use super::candidates::Candidates;

pub(super) fn apply(candidates: &mut Candidates, k: usize) {
    if k > 0 && k < candidates.list.len() {
        candidates.keep_top(k);
    }
}
