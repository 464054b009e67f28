//! Encoding many texts with one memory: words that were encoded once are remembered from text to
//! text.

use std::ops::Range;

use crate::added::Literal;
use crate::model::Scratch;
use crate::{AddSpecial, ParseSpecial, TokenId, Tokenizer};

/// Encodes texts one after the other; see `Tokenizer::encoder`. For one thread.
pub struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    scratch: Scratch,
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, scratch: Scratch::default() }
    }

    /// Appends the ids of `text`, those that [`Tokenizer::encode`] gives.
    pub fn encode(
        &mut self,
        text: &[u8],
        literal: &[Range<usize>],
        add: AddSpecial,
        special: ParseSpecial,
        out: &mut Vec<TokenId>,
    ) {
        let pipeline = &self.tokenizer.pipeline;
        let special = special == ParseSpecial::Yes;
        let literal = Literal::new(literal, text.len());
        // A template writes control tokens as they are spelled; what only becomes such a spelling
        // by normalization (full-width brackets, say) came from a message and stays text.
        let exact = special || !literal.is_empty();
        let raw = if exact { &pipeline.all } else { &pipeline.raw };
        let scratch = &mut self.scratch;
        if add == AddSpecial::Yes {
            out.extend_from_slice(&pipeline.prefix);
        }
        let mut at = 0;
        while let Some(found) = raw.find(text, at, &literal, special) {
            let plain = at..found.range.start;
            pipeline.segment(&text[plain], at == 0, !exact, special, scratch, out);
            out.push(found.id);
            at = found.range.end;
        }
        pipeline.segment(&text[at..], at == 0, !exact, special, scratch, out);
        if add == AddSpecial::Yes {
            out.extend_from_slice(&pipeline.suffix);
        }
    }
}
