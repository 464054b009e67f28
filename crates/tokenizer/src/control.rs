//! Lucid's own control tokens: the one set that templates, trainer, engine grammar and os use for
//! models made here. Invariant: the order is the order of their ids, from [`ControlToken::Bos`]
//! upwards.

/// A control token of Lucid's own models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ControlToken {
    /// Begins a document or a conversation.
    Bos,
    /// Opens a system message.
    System,
    /// Opens a user's message.
    User,
    /// Opens an answer.
    Assistant,
    /// Ends a message or a call.
    End,
    /// Opens reasoning.
    Think,
    /// Closes reasoning.
    ThinkEnd,
    /// Opens a call: `<|call|>name {json}<|end|>`.
    Call,
    /// Opens a call's answer: `<|result|>...<|end|>`, forced by the engine, without training loss.
    Result,
    /// Marks a page of context.
    Page,
}

impl ControlToken {
    /// All of them, in the order of their ids.
    pub const ALL: [Self; 10] = [
        Self::Bos,
        Self::System,
        Self::User,
        Self::Assistant,
        Self::End,
        Self::Think,
        Self::ThinkEnd,
        Self::Call,
        Self::Result,
        Self::Page,
    ];

    /// The spelling in vocabularies and templates.
    pub const fn spelling(self) -> &'static str {
        match self {
            Self::Bos => "<|bos|>",
            Self::System => "<|system|>",
            Self::User => "<|user|>",
            Self::Assistant => "<|assistant|>",
            Self::End => "<|end|>",
            Self::Think => "<|think|>",
            Self::ThinkEnd => "<|/think|>",
            Self::Call => "<|call|>",
            Self::Result => "<|result|>",
            Self::Page => "<|page|>",
        }
    }

    /// The position in [`Self::ALL`]: the id relative to the first control token.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The token that is spelled so.
    pub fn from_spelling(spelling: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|token| token.spelling() == spelling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_and_spelling_are_bijections() {
        for (i, token) in ControlToken::ALL.into_iter().enumerate() {
            assert_eq!(token.index(), i);
            assert_eq!(ControlToken::from_spelling(token.spelling()), Some(token));
        }
        assert_eq!(ControlToken::from_spelling("<|none|>"), None);
    }
}
