//! A conversation as tokens, and which of them the assistant said.
//!
//! For each answer a template is asked three times: for what stands before it, with and without the
//! opening of an answer, and for that with the answer. The answer is what the last has beyond the
//! first; the second tells whether the past is still written as it was. Where a later answer's past
//! is written otherwise (templates drop the reasoning of earlier answers, say), it is learned in a
//! sequence of its own, as the model will see it when it gives it.

use std::ops::Range;

use lucid_tokenizer::template::{ChatTemplate, Message, RenderOptions, TemplateError};
use lucid_tokenizer::{ShowSpecial, TokenId, Tokenizer};
use serde_json::Value;

use super::Conversation;
use super::check::Refusal;

/// Answers of a conversation that are written out; a template is run for each.
const ANSWERS_MAX: usize = 256;

/// Writes conversations as a model reads them.
pub struct Writer<'a> {
    tokenizer: &'a Tokenizer,
    template: &'a ChatTemplate,
}

/// Tokens, and which of them are answers: ascending, disjoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sequence {
    pub(super) tokens: Vec<TokenId>,
    pub(super) answers: Vec<Range<usize>>,
}

impl<'a> Writer<'a> {
    /// By a model's template, into its vocabulary.
    pub fn new(tokenizer: &'a Tokenizer, template: &'a ChatTemplate) -> Self {
        Self { tokenizer, template }
    }

    /// What a model is shown before an answer: for samples.
    ///
    /// # Errors
    /// The template refuses it.
    pub fn question(&self, messages: &[Message], tools: &[Value]) -> Result<Vec<TokenId>, Refusal> {
        self.tokens(messages, tools, true)
    }

    /// The sequences of a conversation, each of `len_max` tokens at most; with the number of
    /// answers that were left out because they did not fit.
    pub(super) fn write(
        &self,
        conversation: &Conversation,
        len_max: usize,
    ) -> Result<(Vec<Sequence>, usize), Refusal> {
        let Conversation { messages, tools } = conversation;
        let answers: Vec<usize> =
            (0..messages.len()).filter(|&at| messages[at].role == "assistant").collect();
        let mut left_out = answers.len().saturating_sub(ANSWERS_MAX);
        let mut sequences: Vec<Sequence> = Vec::new();
        for (number, &at) in answers.iter().take(ANSWERS_MAX).enumerate() {
            let (start, tokens) = self.ended(&messages[..=at], tools)?;
            let end = tokens.len();
            if end > len_max {
                // What follows is longer still.
                left_out += answers.len().min(ANSWERS_MAX) - number;
                break;
            }
            match sequences.last_mut() {
                // The sequence so far goes on: its answers stand where they stood.
                Some(last) if tokens.starts_with(&last.tokens) => {
                    last.tokens = tokens;
                    last.answers.push(start..end);
                }
                _ => {
                    let answers = std::iter::once(start..end).collect();
                    sequences.push(Sequence { tokens, answers });
                }
            }
        }
        if sequences.is_empty() { Err(Refusal::TooLong) } else { Ok((sequences, left_out)) }
    }

    /// The last answer of a conversation alone, with what stands before it.
    pub(super) fn write_last(
        &self,
        conversation: &Conversation,
        len_max: usize,
    ) -> Result<Sequence, Refusal> {
        let (start, tokens) = self.ended(&conversation.messages, &conversation.tools)?;
        if tokens.len() > len_max {
            return Err(Refusal::TooLong);
        }
        let answers = std::iter::once(start..tokens.len()).collect();
        Ok(Sequence { tokens, answers })
    }

    /// A conversation up to the end of an answer, its last message, and where that begins.
    fn ended(
        &self,
        messages: &[Message],
        tools: &[Value],
    ) -> Result<(usize, Vec<TokenId>), Refusal> {
        let (start, mut tokens) = self.answer(messages, tools)?;
        let answer = &messages[messages.len() - 1];
        // What a template writes after the end of an answer nobody says.
        let end = tokens[start..].iter().position(|&id| self.tokenizer.is_end_of_generation(id));
        let last = || tokens[start..].iter().rposition(|&id| self.tokenizer.is_structure(id));
        let ends_late = answer.tool_calls.len() > 1;
        let end = if ends_late { last() } else { end.or_else(last) };
        let end = end.map_or(tokens.len(), |end| start + end + 1);
        self.check_answer(answer, &tokens[start..end])?;
        tokens.truncate(end);
        Ok((start, tokens))
    }

    /// A conversation up to an answer, and where the answer begins in it.
    fn answer(
        &self,
        messages: &[Message],
        tools: &[Value],
    ) -> Result<(usize, Vec<TokenId>), Refusal> {
        let past = &messages[..messages.len() - 1];
        let tokens = self.tokens(messages, tools, false)?;
        let start = common(&self.tokens(past, tools, true)?, &tokens);
        // All that was said before must stand before it; a template may write that otherwise once
        // the answer is there, and then nobody knows where it begins.
        let said = self.tokens(past, tools, false)?;
        let said =
            said.iter().rposition(|&id| self.tokenizer.is_structure(id)).map_or(0, |at| at + 1);
        if start < said {
            let reason = "it writes what came before an answer otherwise once the answer is there";
            return Err(Refusal::Template { reason: reason.to_owned() });
        }
        Ok((start, tokens))
    }

    /// Refuses an answer of which the template left something out.
    fn check_answer(&self, message: &Message, tokens: &[TokenId]) -> Result<(), Refusal> {
        let text = self.tokenizer.decode(tokens, ShowSpecial::Yes);
        let text = String::from_utf8_lossy(&text);
        let refuse = |reason: &str| Err(Refusal::Template { reason: reason.to_owned() });
        if message.tool_calls.iter().any(|call| !text.contains(&call.name)) {
            return refuse("it does not write calls");
        }
        if tokens.iter().all(|&id| self.tokenizer.is_structure(id)) {
            return refuse("it writes nothing of an answer");
        }
        Ok(())
    }

    fn tokens(
        &self,
        messages: &[Message],
        tools: &[Value],
        asks: bool,
    ) -> Result<Vec<TokenId>, Refusal> {
        let options = RenderOptions {
            add_generation_prompt: asks,
            tools: tools.to_vec(),
            ..RenderOptions::default()
        };
        let rendered = self.template.render(messages, &options).map_err(|error| match error {
            TemplateError::Refused { message } => Refusal::Template { reason: message },
            error => Refusal::Template { reason: error.to_string() },
        })?;
        Ok(rendered.tokens(self.tokenizer))
    }
}

/// How many tokens two lists begin with together.
fn common(a: &[TokenId], b: &[TokenId]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
