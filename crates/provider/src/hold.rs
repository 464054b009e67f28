//! Setting a turn aside while it is being answered, and letting it go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

pub use lucid_engine::Keep;

const GOES: u8 = 0;
const STILL_WITH_BLOCKS: u8 = 1;
const STILL: u8 = 2;

/// A hand on a turn: whoever asked keeps one, the turn has the other. Setting it aside changes
/// nothing about the answer.
#[derive(Clone, Debug, Default)]
pub struct Hold(Arc<AtomicU8>);

impl Hold {
    /// The turn stands still from its next token on.
    pub fn pause(&self, keep: Keep) {
        let state = match keep {
            Keep::Blocks => STILL_WITH_BLOCKS,
            Keep::Tokens => STILL,
        };
        self.0.store(state, Ordering::Relaxed);
    }

    /// It goes on.
    pub fn resume(&self) {
        self.0.store(GOES, Ordering::Relaxed);
    }

    /// Whether it is to stand still, and what is kept of it.
    pub fn wanted(&self) -> Option<Keep> {
        match self.0.load(Ordering::Relaxed) {
            STILL_WITH_BLOCKS => Some(Keep::Blocks),
            STILL => Some(Keep::Tokens),
            _ => None,
        }
    }
}
