//! A model on this machine: engine, vocabulary and template, driven by a thread of its own.
//!
//! Whoever asks renders and tokenises the prompt on his own thread (`prompt`, `sampling`); the
//! model's thread (`worker`) computes, and turns tokens into what is told (`voice`, `stops`).

mod amount;
mod budget;
mod card;
mod engine;
mod files;
mod load;
mod prompt;
mod sampling;
mod shared;
mod stops;
mod tasks;
#[cfg(test)]
mod tests;
mod vocabulary;
mod voice;
mod worker;

use std::path::Path;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use lucid_engine::{
    ALTERNATIVES_MAX, ClientId, Config, Constraint, Pooling, Request, SAMPLES_MAX, WantedLogProbs,
};
use lucid_tokenizer::template::{ChatTemplate, LocalTime};
use lucid_tokenizer::{ShowSpecial, TokenId};

use crate::dialogue::{self, Format};
use crate::grammar::{Demand, Grammars};
use crate::{
    Adapter, Answers, Card, Effort, EmbeddingKind, Embeddings, OutputFormat, Prompt, Provider,
    ProviderError, ProviderStats, Ranking, ToolChoice, Tools, Turn, answers,
};

pub use amount::{bytes_in_words, count_in_words};
pub use engine::{Compute, Watch, Weights, When, default_kv, start};
pub use files::{chat_template, name, optional_tokenizer, tokenizer, vocab_size};
pub use load::{LocalOptions, TemplateUse};
pub use lucid_engine::DiskOptions;
pub use vocabulary::{fit, to_metadata};

use budget::Budget;
use prompt::{Begins, Infill, Writer, Written};
use shared::Shared;
use stops::Stops;
use tasks::{Names, RankPrompt};
use worker::{Command, Job, Reading};

/// The most stop tokens of a turn.
const STOP_TOKENS_MAX: usize = 1024;

/// A model on this machine. Dropping it ends its thread, and what it still answers with an error.
pub struct Local {
    card: Card,
    config: Config,
    shared: Arc<Shared>,
    language: Language,
    /// Made when the first turn needs them.
    grammars: OnceLock<Result<Grammars, ProviderError>>,
    /// Adapters by name.
    names: Mutex<Names>,
    now: fn() -> LocalTime,
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

/// How the model is spoken to, and how it speaks.
struct Language {
    template: Option<ChatTemplate>,
    infill: Option<Infill>,
    /// How the template writes reasoning and calls.
    format: Format,
    /// Tokens that end an answer.
    ends: Vec<TokenId>,
    /// How the states of a text are joined.
    pooling: Pooling,
    /// Whether there is a head that ranks texts, and what it wants to see.
    ranks: bool,
    rank_prompt: RankPrompt,
}

impl Local {
    /// The model's hyper-parameters.
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn write(&self, turn: &Turn) -> Result<Written, ProviderError> {
        let writer = Writer {
            provider: &self.card.name,
            tokenizer: &self.shared.tokenizer,
            template: self.language.template.as_ref(),
            infill: self.language.infill.as_ref(),
            format: self.language.format,
            now: (self.now)(),
        };
        let written = writer.write(turn)?;
        let vocab_size = self.card.vocab_size;
        if let Some(token) = written.tokens.iter().find(|&&token| token as usize >= vocab_size) {
            return Err(ProviderError::unknown_token("prompt", *token, vocab_size));
        }
        Ok(written)
    }

    /// A turn as the engine sees it, without its prompt, constraint and adapter.
    fn request(&self, turn: &Turn, written: &Written) -> Result<Request, ProviderError> {
        let (prompt_tokens, context) = (written.tokens.len(), self.card.context);
        if prompt_tokens >= context {
            return Err(ProviderError::PromptTooLong { prompt_tokens, context });
        }
        let samples = turn.samples.max(1);
        if samples > SAMPLES_MAX {
            let reason = format!("{samples} answers, expected 1 to {SAMPLES_MAX}");
            return Err(ProviderError::invalid("samples", reason));
        }
        let alternatives = turn.log_probs.map_or(0, |wanted| wanted.alternatives);
        if alternatives > ALTERNATIVES_MAX {
            let reason = format!("{alternatives}, expected at most {ALTERNATIVES_MAX}");
            return Err(ProviderError::invalid("log_probs.alternatives", reason));
        }
        self.check_adapter(turn)?;
        let (sampling, tokenizer) = (&self.card.sampling, &self.shared.tokenizer);
        let vocab_size = self.card.vocab_size;
        Ok(Request {
            sampler: sampling::resolve(&turn.sampling, sampling, tokenizer, vocab_size)?,
            new_tokens_max: turn.new_tokens_max.unwrap_or(usize::MAX),
            stop_tokens: self.stop_tokens(turn, written)?,
            client: turn.client,
            scope: turn.scope.clone(),
            log_probs: turn.log_probs.map(|wanted| WantedLogProbs {
                alternatives: wanted.alternatives,
                prompt: wanted.prompt,
            }),
            samples,
            ..Request::default()
        })
    }

    fn stop_tokens(&self, turn: &Turn, written: &Written) -> Result<Vec<TokenId>, ProviderError> {
        let (field, vocab_size) = ("stop_tokens", self.card.vocab_size);
        if turn.stop_tokens.len() > STOP_TOKENS_MAX {
            let found = turn.stop_tokens.len();
            let reason = format!("{found} tokens, expected at most {STOP_TOKENS_MAX}");
            return Err(ProviderError::invalid(field, reason));
        }
        if let Some(token) = turn.stop_tokens.iter().find(|&&it| it as usize >= vocab_size) {
            return Err(ProviderError::unknown_token(field, *token, vocab_size));
        }
        let mut tokens = turn.stop_tokens.clone();
        if !turn.ignore_end {
            tokens.extend_from_slice(&self.language.ends);
            tokens.extend(self.shared.tokenizer.bos().filter(|_| written.ends_at_begin));
        }
        Ok(tokens)
    }

    /// What the answers must conform to, if anything is demanded.
    fn constraint(
        &self,
        turn: &Turn,
        written: &Written,
    ) -> Result<Option<Box<dyn Constraint>>, ProviderError> {
        let none = Tools::default();
        let wants = |tools: &Tools| !tools.list.is_empty() && tools.choice != ToolChoice::None;
        let (tools, dialogue, begins) = if let Some(begins) = written.message {
            (&turn.tools, &self.language.format, begins)
        } else if wants(&turn.tools) || must_call(&turn.tools) {
            let reason = "tools are called in conversations, not in texts";
            return Err(ProviderError::invalid("tools", reason));
        } else {
            // Nothing in a text is a call or a reasoning.
            (&none, &Format::default(), dialogue::Begins::Outside)
        };
        if turn.format == OutputFormat::Free && !wants(tools) && !must_call(tools) {
            return Ok(None);
        }
        let grammars = self.grammars.get_or_init(|| Grammars::new(&self.shared.tokenizer));
        let grammars = grammars.as_ref().map_err(Clone::clone)?;
        grammars.constraint(&Demand { format: &turn.format, tools, dialogue, begins })
    }

    fn send(&self, command: Command) -> Result<(), ProviderError> {
        let sent = self.commands.as_ref().is_some_and(|commands| commands.send(command).is_ok());
        if sent { Ok(()) } else { Err(self.shared.broken_error("its thread has ended")) }
    }
}

fn must_call(tools: &Tools) -> bool {
    matches!(tools.choice, ToolChoice::Required | ToolChoice::Named(_))
}

impl Drop for Local {
    fn drop(&mut self) {
        // The thread ends when nobody can ask any more.
        drop(self.commands.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Provider for Local {
    fn card(&self) -> &Card {
        &self.card
    }

    fn generate(&self, turn: Turn) -> Result<Answers, ProviderError> {
        let stops = Stops::new(&turn.stops)?;
        let mut written = self.write(&turn)?;
        let mut request = self.request(&turn, &written)?;
        request.prompt = std::mem::take(&mut written.tokens);
        request.constraint = self.constraint(&turn, &written)?;
        // A format speaks of the whole text, its first space included.
        let begins = if request.constraint.is_some() { Begins::Within } else { written.begins };
        let format = self.language.format;
        if let (Effort::On { tokens_max: Some(most) }, Some(begins)) =
            (turn.effort, written.message)
        {
            let (inner, tokenizer) = (request.constraint.take(), &self.shared.tokenizer);
            request.constraint = Budget::bound(inner, tokenizer, &format, begins, most);
        }
        let tools = match turn.tools.choice {
            ToolChoice::None => Vec::new(),
            _ => turn.tools.list,
        };
        let reading = written.message.map(|begins| Reading { format, begins, tools });
        self.shared.enter()?;
        let (teller, answers) = answers();
        let hold = turn.hold.clone();
        let stop_tokens = turn.stop_tokens;
        let sent = self.send_with_adapter(turn.adapter.as_deref(), |adapter| {
            let request = Request { adapter, ..request };
            Command::Answer(Box::new(Job {
                request,
                begins,
                stops,
                stop_tokens,
                reading,
                teller,
                hold,
            }))
        });
        if let Err(error) = sent {
            self.shared.leave(None);
            return Err(error);
        }
        Ok(answers)
    }

    fn check(&self, turn: &Turn) -> Result<(), ProviderError> {
        Stops::new(&turn.stops)?;
        let written = self.write(turn)?;
        self.request(turn, &written)?;
        self.constraint(turn, &written).map(drop)
    }

    fn prompt_tokens(&self, turn: &Turn) -> Result<Vec<TokenId>, ProviderError> {
        self.write(turn).map(|written| written.tokens)
    }

    fn decode(&self, tokens: &[TokenId]) -> Result<Vec<u8>, ProviderError> {
        let tokenizer = &self.shared.tokenizer;
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= tokenizer.len()) {
            return Err(ProviderError::unknown_token("tokens", *token, tokenizer.len()));
        }
        Ok(tokenizer.decode(tokens, ShowSpecial::Yes))
    }

    fn embed(
        &self,
        prompts: &[Prompt],
        kind: EmbeddingKind,
        client: ClientId,
    ) -> Result<Embeddings, ProviderError> {
        self.embeddings(prompts, kind, client)
    }

    fn rank(
        &self,
        query: &str,
        documents: &[String],
        client: ClientId,
    ) -> Result<Ranking, ProviderError> {
        self.ranking(query, documents, client)
    }

    fn snapshot(&self, turn: &Turn) -> Result<usize, ProviderError> {
        self.keep(turn)
    }

    fn load_adapter(&self, name: &str, path: &Path, scale: f32) -> Result<Adapter, ProviderError> {
        self.take_adapter(name, path, scale)
    }

    fn drop_adapter(&self, name: &str) -> Result<bool, ProviderError> {
        self.let_go(name)
    }

    fn adapters(&self) -> Vec<Adapter> {
        self.loaded_adapters()
    }

    fn forget(&self) {
        // Without a thread there is nothing to forget.
        let _ = self.send(Command::Forget);
    }

    fn stats(&self) -> ProviderStats {
        self.shared.stats()
    }

    fn trouble(&self) -> Option<String> {
        self.shared.trouble()
    }
}
