//! HTML of an answer while it is written. A block is rendered once and for all when another one
//! has begun after it: markdown's blocks are decided line by line, and a whole line never changes
//! what stood before the block it belongs to. Only the last block, the tail, is rendered again.
//!
//! Invariant: a step renders 2 KiB at most, beside what sums up to a constant times the answer's
//! length. A short tail is rendered at each step; a long one when it has grown by an eighth, and
//! between, what comes is added as text.
//!
//! Departure from rendering the whole: a definition of a link (`[name]: address`) holds for its
//! own block only. The whole answer is rendered once more at its end.

use super::{parser, render};

/// A tail up to this many bytes is rendered at each step.
const TAIL_BYTES_FREE: usize = 2 << 10;
/// A longer one when it has grown by its length divided by this.
const GROWTH: usize = 8;

/// Renders an answer as it comes.
#[derive(Debug, Default)]
pub(crate) struct Streamer {
    /// What is not settled yet: the last block.
    tail: String,
    /// How much of the tail was rendered last.
    rendered: usize,
    /// Bytes that were rendered in all.
    pub(super) work: usize,
}

/// What is new in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// HTML that follows what is settled.
    pub(crate) settled: String,
    /// What follows that.
    pub(crate) tail: Tail,
}

/// What is not settled yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// It is this HTML, in place of what it was.
    Html(String),
    /// This text is to be added to what it was.
    Text(String),
}

impl Streamer {
    /// Takes what was added to the answer.
    pub(crate) fn push(&mut self, added: &str) -> Step {
        self.tail.push_str(added);
        let due = self.rendered + self.rendered / GROWTH;
        if self.tail.len() > TAIL_BYTES_FREE && self.tail.len() < due {
            return Step { settled: String::new(), tail: Tail::Text(added.to_owned()) };
        }
        let settled = match self.last_block() {
            0 => String::new(),
            start => {
                self.work += start;
                let rest = self.tail.split_off(start);
                render(&std::mem::replace(&mut self.tail, rest))
            }
        };
        self.work += self.tail.len();
        self.rendered = self.tail.len();
        Step { settled, tail: Tail::Html(render(&self.tail)) }
    }

    /// Where the last block begins in the tail, judged by whole lines.
    fn last_block(&self) -> usize {
        let whole = self.tail.rfind('\n').map_or(0, |end| end + 1);
        let lines = &self.tail[..whole];
        let (mut depth, mut start) = (0usize, 0);
        for (event, range) in parser(lines).into_offset_iter() {
            match event {
                pulldown_cmark::Event::End(_) => depth = depth.saturating_sub(1),
                _ if depth > 0 => {}
                _ => start = range.start,
            }
            if matches!(event, pulldown_cmark::Event::Start(_)) {
                depth += 1;
            }
        }
        // With the indentation, which decides what a line is.
        lines[..start].rfind('\n').map_or(0, |end| end + 1)
    }
}
