//! What can go wrong with a chat template, as values.

/// Why a chat template could not be compiled or rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The source is no template.
    #[error("chat template, line {line}: {message}")]
    Syntax {
        /// Line in the template, from 1 (0: unknown).
        line: usize,
        /// What was expected.
        message: String,
    },
    /// The template itself refused the conversation (`raise_exception`).
    #[error("the chat template refuses this conversation: {message}")]
    Refused {
        /// The template's own words.
        message: String,
    },
    /// An operation failed while rendering.
    #[error("chat template, line {line}: {message}")]
    Render {
        /// Line in the template, from 1 (0: unknown).
        line: usize,
        /// What failed.
        message: String,
    },
    /// A bound on time, memory, depth or output was reached.
    #[error("chat template: {what} exceeds the limit of {limit}")]
    Limit {
        /// Which bound.
        what: &'static str,
        /// Its value.
        limit: u64,
    },
    /// A construct that chat templates do not need and that could not be bounded.
    #[error("chat template: {what} is not supported")]
    Unsupported {
        /// Which construct.
        what: String,
    },
    /// The conversation uses up Unicode's private-use planes, which the masking needs.
    #[error("the conversation leaves no private-use code points free ({needed} needed)")]
    PrivateUseExhausted {
        /// How many code points the masking needs.
        needed: usize,
    },
}
