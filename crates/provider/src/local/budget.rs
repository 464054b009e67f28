//! A bound on reasoning: when its tokens are spent, it is closed for the model. Whatever else the
//! answer must conform to is kept to as well.

use std::sync::Arc;

use lucid_engine::{Constraint, EngineError, TokenMask};
use lucid_tokenizer::{ParseSpecial, TokenId, Tokenizer};

use super::sampling::spelled;
use crate::dialogue::{Begins, Format};

/// See the module's text.
pub(super) struct Budget {
    marks: Arc<Marks>,
    inner: Option<Box<dyn Constraint>>,
    state: State,
    /// What was said since the beginning, or since the reasoning was opened.
    said: Vec<u8>,
}

struct Marks {
    tokenizer: Arc<Tokenizer>,
    opener: &'static str,
    closer: &'static str,
    /// The tokens that close a reasoning.
    closing: Vec<TokenId>,
    tokens_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The model may open a reasoning.
    Before,
    /// So many tokens are left.
    Inside(usize),
    /// It was closed, or there is none.
    After,
}

impl Budget {
    /// Bounds the reasoning of an answer; `inner` where there is none to bound.
    pub(super) fn bound(
        inner: Option<Box<dyn Constraint>>,
        tokenizer: &Arc<Tokenizer>,
        format: &Format,
        begins: Begins,
        tokens_max: usize,
    ) -> Option<Box<dyn Constraint>> {
        let Some((opener, closer)) = format.reasoning_marks() else { return inner };
        let state = match begins {
            Begins::InReasoning => State::Inside(tokens_max),
            Begins::Outside => State::Before,
            Begins::AfterReasoning => return inner,
        };
        // Marks that are words stand on lines of their own; those that are tokens do not. Where
        // something rules what follows, the closer is the last that is forced: it ends a token, by
        // which it is told (`grammar::watch`), and the line breaks after it are not the grammar's.
        let text = match (&inner, closer.starts_with("<|")) {
            (_, true) => closer.to_owned(),
            (Some(_), false) => format!("\n{closer}"),
            (None, false) => format!("\n{closer}\n\n"),
        };
        let closing = spelled(text.as_bytes(), tokenizer, ParseSpecial::Yes);
        let tokenizer = Arc::clone(tokenizer);
        let marks = Arc::new(Marks { tokenizer, opener, closer, closing, tokens_max });
        Some(Box::new(Self { marks, inner, state, said: Vec::new() }))
    }

    fn says(&self, mark: &str) -> bool {
        self.said.windows(mark.len()).any(|part| part == mark.as_bytes())
    }

    /// Goes on after a token.
    fn advance(&mut self, token: TokenId) {
        if self.state == State::After {
            return;
        }
        let marks = Arc::clone(&self.marks);
        self.said.extend_from_slice(&marks.tokenizer.piece(token).unwrap_or_default());
        match self.state {
            State::Before => {
                let said = self.said.trim_ascii_start();
                let opener = marks.opener.as_bytes();
                if said.starts_with(opener) {
                    self.said.clear();
                    self.state = State::Inside(marks.tokens_max);
                } else if !opener.starts_with(said) {
                    self.state = State::After;
                }
            }
            State::Inside(_) if self.says(marks.closer) => self.state = State::After,
            State::Inside(left) => {
                self.state = State::Inside(left.saturating_sub(1));
                // Of what was said only what may be the beginning of the mark matters.
                let keep = self.said.len().min(marks.closer.len());
                self.said.drain(..self.said.len() - keep);
            }
            State::After => {}
        }
    }
}

impl Constraint for Budget {
    fn forced(&mut self) -> Result<Vec<TokenId>, EngineError> {
        if self.state == State::Inside(0) {
            self.state = State::After;
            return Ok(self.marks.closing.clone());
        }
        self.inner.as_mut().map_or(Ok(Vec::new()), |inner| inner.forced())
    }

    fn mask(&mut self, allowed: &mut TokenMask) -> Result<(), EngineError> {
        if let Some(inner) = &mut self.inner {
            return inner.mask(allowed);
        }
        allowed.words_mut().fill(u32::MAX);
        Ok(())
    }

    fn accept(&mut self, token: TokenId) -> Result<(), EngineError> {
        if let Some(inner) = &mut self.inner {
            inner.accept(token)?;
        }
        self.advance(token);
        Ok(())
    }

    fn may_end(&self) -> bool {
        self.inner.as_ref().is_none_or(|inner| inner.may_end())
    }

    fn duplicate(&self) -> Box<dyn Constraint> {
        Box::new(Self {
            marks: Arc::clone(&self.marks),
            inner: self.inner.as_ref().map(|inner| inner.duplicate()),
            state: self.state,
            said: self.said.clone(),
        })
    }
}
