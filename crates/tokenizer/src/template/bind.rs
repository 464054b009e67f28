//! A chat template bound to a vocabulary, and what it renders as tokens.
//!
//! Invariant: only the template writes control tokens. What stems from messages and spells one
//! comes with its byte range, over which the tokenizer forms none.

use super::{ChatTemplate, Rendered, TemplateError};
use crate::{AddSpecial, ParseSpecial, TokenId, TokenKind, Tokenizer};

impl ChatTemplate {
    /// Binds a template's source to the control tokens of a vocabulary.
    ///
    /// # Errors
    /// The source is no template, or beyond the limits.
    pub fn bind(source: &str, tokenizer: &Tokenizer) -> Result<Self, TemplateError> {
        let spelling = |id: TokenId| {
            tokenizer.token_text(id).map(|text| String::from_utf8_lossy(text).into_owned())
        };
        let control = (0..tokenizer.len() as TokenId).filter(|&id| tokenizer.is_structure(id));
        let bos = tokenizer.bos().and_then(spelling);
        let eos = tokenizer.eos().and_then(spelling);
        let control = control.filter_map(spelling).collect::<Vec<_>>();
        Self::new(source, control, bos.as_deref(), eos.as_deref())
    }
}

impl Tokenizer {
    /// Whether a token is structure that no text may spell: a control token, or one that was added
    /// by hand and is marked as such.
    pub fn is_structure(&self, id: TokenId) -> bool {
        let kind = self.vocabulary().kind(id);
        matches!(kind, TokenKind::Control | TokenKind::Unknown)
            || (kind == TokenKind::UserDefined && is_marked(self.token_text(id)))
    }
}

/// Added tokens such as `<think>` or `[TOOL_CALLS]` are structure; added runs of spaces are not.
fn is_marked(text: Option<&[u8]>) -> bool {
    matches!(text, Some([b'<', .., b'>'] | [b'[', .., b']']))
}

impl Rendered {
    /// As tokens. The template writes begin-of-text itself; where it does not and the vocabulary
    /// wants it, it is put before.
    pub fn tokens(&self, tokenizer: &Tokenizer) -> Vec<TokenId> {
        let text = self.text.as_bytes();
        let mut tokens = tokenizer.encode(text, &self.literal, AddSpecial::No, ParseSpecial::Yes);
        if let Some(bos) = tokenizer.bos()
            && tokenizer.adds_bos()
            && tokens.first() != Some(&bos)
        {
            tokens.insert(0, bos);
        }
        tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_tokens_are_structure() {
        assert!(is_marked(Some(b"<think>")) && is_marked(Some(b"[INST]")));
        assert!(!is_marked(Some(b"    ")) && !is_marked(Some(b"a")) && !is_marked(None));
    }
}
