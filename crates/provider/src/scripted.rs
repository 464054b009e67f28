//! A provider that says what it was told to: for tests of whatever stands above.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use lucid_tokenizer::TokenId;

use crate::{
    Answers, Capabilities, Card, Delta, Provider, ProviderError, Stop, Turn, Usage, answers,
};

/// Answers each turn with the next script, and remembers the turns. Without a script it says back
/// the last message, or the text. A token is a byte.
#[derive(Debug, Default)]
pub struct Scripted {
    card: Card,
    scripts: Mutex<VecDeque<Script>>,
    turns: Mutex<Vec<Turn>>,
}

/// What one turn is answered with.
pub type Script = Vec<Result<Delta, ProviderError>>;

impl Scripted {
    /// A provider of this name that can do everything.
    pub fn new(name: &str) -> Self {
        let capabilities = Capabilities {
            chat: true,
            text: true,
            tools: true,
            reasoning: true,
            formats: true,
            log_probs: true,
            tokens: true,
            ..Capabilities::default()
        };
        let card = Card {
            name: name.to_owned(),
            context: 4096,
            vocab_size: 256,
            capabilities,
            ..Card::default()
        };
        Self { card, ..Self::default() }
    }

    /// Adds what the next turn is answered with.
    #[must_use]
    pub fn then(self, script: Script) -> Self {
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner).push_back(script);
        self
    }

    /// The turns so far.
    pub fn turns(&self) -> Vec<Turn> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Provider for Scripted {
    fn card(&self) -> &Card {
        &self.card
    }

    fn generate(&self, turn: Turn) -> Result<Answers, ProviderError> {
        let (teller, answers) = answers();
        let next = self.scripts.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        for delta in next.unwrap_or_else(|| echo(&turn)) {
            teller.tell(delta);
        }
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).push(turn);
        Ok(answers)
    }

    fn prompt_tokens(&self, turn: &Turn) -> Result<Vec<TokenId>, ProviderError> {
        Ok(said(turn).bytes().map(TokenId::from).collect())
    }

    fn decode(&self, tokens: &[TokenId]) -> Result<Vec<u8>, ProviderError> {
        let byte = |&token: &TokenId| u8::try_from(token);
        let bytes: Result<Vec<u8>, _> = tokens.iter().map(byte).collect();
        bytes.map_err(|_| ProviderError::invalid("tokens", "a token is a byte here"))
    }
}

/// The last thing that was said.
fn said(turn: &Turn) -> String {
    use crate::Prompt;
    match &turn.prompt {
        Prompt::Chat { messages, .. } => {
            messages.last().and_then(|message| message.content.clone()).unwrap_or_default()
        }
        Prompt::Text(text) => text.text.clone(),
        Prompt::Infill { prefix, .. } => prefix.clone(),
        Prompt::Tokens(tokens) => {
            tokens.iter().map(|&token| char::from(token.min(127) as u8)).collect()
        }
    }
}

fn echo(turn: &Turn) -> Script {
    let text = said(turn);
    let usage = Usage { prompt_tokens: text.len(), new_tokens: text.len(), ..Usage::default() };
    let mut script = vec![Ok(Delta::Begun { prompt_tokens: text.len(), cached_tokens: 0 })];
    for sample in 0..turn.samples.max(1) {
        script.push(Ok(Delta::Text { sample, text: text.clone(), tokens: Vec::new() }));
        script.push(Ok(Delta::Finished { sample, stop: Stop::End, usage }));
    }
    script
}
