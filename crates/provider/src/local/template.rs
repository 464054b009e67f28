//! A chat template bound to a vocabulary, and what it renders as tokens.
//!
//! Invariant: only the template writes control tokens. What stems from messages and spells one
//! comes with its byte range, over which the tokenizer forms none.

use lucid_tokenizer::template::{ChatTemplate, Rendered, TemplateError};
use lucid_tokenizer::{AddSpecial, ParseSpecial, TokenId, TokenKind, Tokenizer};

/// Binds a template's source to the control tokens of a vocabulary.
///
/// # Errors
/// The source is no template, or beyond the limits.
pub(super) fn bind(source: &str, tokenizer: &Tokenizer) -> Result<ChatTemplate, TemplateError> {
    let spelling = |id: TokenId| {
        tokenizer.token_text(id).map(|text| String::from_utf8_lossy(text).into_owned())
    };
    let control = (0..tokenizer.len() as TokenId).filter(|&id| is_structure(tokenizer, id));
    let bos = tokenizer.bos().and_then(spelling);
    let eos = tokenizer.eos().and_then(spelling);
    let control = control.filter_map(spelling).collect::<Vec<_>>();
    ChatTemplate::new(source, control, bos.as_deref(), eos.as_deref())
}

/// Whether a token is structure that no text may spell: a control token, or one that was added by
/// hand and is marked as such.
pub(super) fn is_structure(tokenizer: &Tokenizer, id: TokenId) -> bool {
    let kind = tokenizer.vocabulary().kind(id);
    matches!(kind, TokenKind::Control | TokenKind::Unknown)
        || (kind == TokenKind::UserDefined && is_marked(tokenizer.token_text(id)))
}

/// Added tokens such as `<think>` or `[TOOL_CALLS]` are structure; added runs of spaces are not.
fn is_marked(text: Option<&[u8]>) -> bool {
    matches!(text, Some([b'<', .., b'>'] | [b'[', .., b']']))
}

/// A rendered conversation as tokens. The template writes begin-of-text itself, where it is wanted.
pub(super) fn encode(tokenizer: &Tokenizer, rendered: &Rendered) -> Vec<TokenId> {
    let Rendered { text, literal } = rendered;
    let mut tokens = tokenizer.encode(text.as_bytes(), literal, AddSpecial::No, ParseSpecial::Yes);
    if let Some(bos) = tokenizer.bos()
        && tokenizer.adds_bos()
        && tokens.first() != Some(&bos)
    {
        tokens.insert(0, bos);
    }
    tokens
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
