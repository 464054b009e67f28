//! What a local model does beside answering: embeddings, ranking, snapshots, adapters.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, MutexGuard, PoisonError};

use lucid_checkpoint::AdapterFile;
use lucid_engine::{AdapterId, AdapterInfo, ClientId, Purpose, Request};
use lucid_tensor::{KV_BLOCK_LEN, WeightSource as _};
use lucid_tokenizer::{AddSpecial, ParseSpecial, TokenId, Tokenizer};

use super::Local;
use super::files::{in_full, unloadable};
use super::worker::{Command, Outcome, Task};
use crate::{
    Adapter, Embedding, EmbeddingKind, Embeddings, Prompt, Provider as _, ProviderError, Ranking,
    Turn,
};

/// The most texts of a call.
const TEXTS_MAX: usize = 4096;

/// Adapters by name.
pub(super) type Names = BTreeMap<String, AdapterInfo>;

/// How a model that ranks wants to see a query and a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RankPrompt {
    /// A text with `{query}` and `{document}` in it.
    Text(String),
    /// Both as they are, with the vocabulary's own separators.
    Separated,
}

impl RankPrompt {
    /// What the metadata say. Source of the key: llama.cpp's converter
    /// (`tokenizer.chat_template.rerank`).
    pub(super) fn find(checkpoint: &lucid_checkpoint::Checkpoint) -> Self {
        let key = "tokenizer.chat_template.rerank";
        let text = checkpoint.metadata().text(key).ok().flatten();
        let usable = |text: &&str| text.contains("{query}") && text.contains("{document}");
        text.filter(usable).map_or(Self::Separated, |text| Self::Text(text.to_owned()))
    }

    fn write(&self, tokenizer: &Tokenizer, query: &str, document: &str) -> Vec<TokenId> {
        match self {
            Self::Text(template) => {
                let (mut text, mut literal) = (String::new(), Vec::new());
                let mut rest = template.as_str();
                let holes = [("{query}", query), ("{document}", document)];
                while let Some((at, hole, value)) = holes
                    .iter()
                    .filter_map(|(hole, value)| Some((rest.find(hole)?, hole, value)))
                    .min()
                {
                    text.push_str(&rest[..at]);
                    let start = text.len();
                    text.push_str(value);
                    literal.push(start..text.len());
                    rest = &rest[at + hole.len()..];
                }
                text.push_str(rest);
                let (bytes, yes) = (text.as_bytes(), ParseSpecial::Yes);
                tokenizer.encode(bytes, &literal, AddSpecial::Yes, yes)
            }
            // As llama.cpp's server does (`format_prompt_rerank`).
            Self::Separated => {
                let plain = |text: &str| {
                    tokenizer.encode(text.as_bytes(), &[], AddSpecial::No, ParseSpecial::No)
                };
                let vocabulary = tokenizer.vocabulary();
                let end = vocabulary.eos.filter(|_| vocabulary.add_eos != Some(false));
                let mut tokens = Vec::new();
                tokens.extend(vocabulary.bos.filter(|_| vocabulary.add_bos != Some(false)));
                tokens.extend(plain(query));
                tokens.extend(end);
                tokens.extend(vocabulary.sep);
                tokens.extend(plain(document));
                tokens.extend(end);
                tokens
            }
        }
    }
}

impl Local {
    pub(super) fn embeddings(
        &self,
        prompts: &[Prompt],
        kind: EmbeddingKind,
        client: ClientId,
    ) -> Result<Embeddings, ProviderError> {
        let width = self.card.embedding_len;
        if let Some(wanted) = kind.dimensions.filter(|&wanted| wanted == 0 || wanted > width) {
            let reason = format!("{wanted}, expected 1 to {width}");
            return Err(ProviderError::invalid("kind.dimensions", reason));
        }
        let mut texts = Vec::new();
        for prompt in prompts {
            if !matches!(prompt, Prompt::Text(_) | Prompt::Tokens(_)) {
                let reason = "only texts and tokens have embeddings";
                return Err(ProviderError::invalid("prompts", reason));
            }
            let turn = Turn { prompt: prompt.clone(), ..Turn::default() };
            texts.push(self.write(&turn)?.tokens);
        }
        let lens: Vec<usize> = texts.iter().map(Vec::len).collect();
        let vectors = self.compute(texts, Purpose::Embed(self.language.pooling), client)?;
        let list = vectors.into_iter().zip(&lens).map(|(mut values, &tokens)| {
            values.truncate(kind.dimensions.unwrap_or(width));
            if !kind.raw {
                scale_to_one(&mut values);
            }
            Embedding { values, tokens }
        });
        Ok(Embeddings { list: list.collect(), tokens: lens.iter().sum() })
    }

    /// By the model's ranking head where it has one, else by the cosine of embeddings.
    pub(super) fn ranking(
        &self,
        query: &str,
        documents: &[String],
        client: ClientId,
    ) -> Result<Ranking, ProviderError> {
        if self.language.ranks {
            let tokenizer = &self.shared.tokenizer;
            let write = |text: &String| self.language.rank_prompt.write(tokenizer, query, text);
            let texts: Vec<Vec<TokenId>> = documents.iter().map(write).collect();
            let tokens = texts.iter().map(Vec::len).sum();
            let scores = self.compute(texts, Purpose::Rank, client)?;
            let scores = scores.iter().map(|values| values.first().copied().unwrap_or(0.0));
            return Ok(Ranking { scores: scores.collect(), tokens });
        }
        let all = std::iter::once(query).chain(documents.iter().map(String::as_str));
        let prompts: Vec<Prompt> = all.map(Prompt::text).collect();
        let kind = EmbeddingKind::default();
        let Embeddings { list, tokens } = self.embeddings(&prompts, kind, client)?;
        let Some((query, documents)) = list.split_first() else { return Ok(Ranking::default()) };
        let cosine = |document: &Embedding| {
            let products = query.values.iter().zip(&document.values);
            products.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>() as f32
        };
        Ok(Ranking { scores: documents.iter().map(cosine).collect(), tokens })
    }

    pub(super) fn keep(&self, turn: &Turn) -> Result<usize, ProviderError> {
        if !self.card.capabilities.snapshot {
            return Err(self.unsupported("it keeps nothing on disk"));
        }
        let tokens = self.write(turn)?.tokens;
        let kept = tokens.len() / KV_BLOCK_LEN * KV_BLOCK_LEN;
        let request = Request {
            new_tokens_max: 0,
            scope: turn.scope.clone(),
            ..self.task(tokens, Purpose::Answer, turn.client)?
        };
        self.run(vec![request], turn.adapter.as_deref())?;
        let (reply, done) = channel();
        self.send(Command::Flush(reply))?;
        match self.heard(&done)? {
            Some(trouble) => {
                Err(self.unsupported(&format!("it can keep nothing at present: {trouble}")))
            }
            None => Ok(kept),
        }
    }

    /// Computes prompts that are not answered; what comes of each.
    fn compute(
        &self,
        texts: Vec<Vec<TokenId>>,
        purpose: Purpose,
        client: ClientId,
    ) -> Result<Vec<Vec<f32>>, ProviderError> {
        if texts.len() > TEXTS_MAX {
            let reason = format!("{} texts, expected at most {TEXTS_MAX}", texts.len());
            return Err(ProviderError::invalid("prompts", reason));
        }
        let requests = texts.into_iter().map(|text| self.task(text, purpose, client));
        self.run(requests.collect::<Result<_, _>>()?, None)
    }

    fn task(
        &self,
        prompt: Vec<TokenId>,
        purpose: Purpose,
        client: ClientId,
    ) -> Result<Request, ProviderError> {
        let (prompt_tokens, context) = (prompt.len(), self.card.context);
        if prompt_tokens >= context {
            return Err(ProviderError::PromptTooLong { prompt_tokens, context });
        }
        if prompt.is_empty() {
            return Err(ProviderError::invalid("prompts", "a text is empty"));
        }
        Ok(Request { prompt, purpose, client, ..Request::default() })
    }

    /// Runs requests that are not answered, and waits for all of them. Together they take one place
    /// in the queue.
    fn run(
        &self,
        requests: Vec<Request>,
        adapter: Option<&str>,
    ) -> Result<Vec<Vec<f32>>, ProviderError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        self.shared.enter()?;
        let mut results = vec![Vec::new(); requests.len()];
        let outcome = self.run_entered(requests, adapter, &mut results);
        self.shared.leave(None);
        outcome.map(|()| results)
    }

    fn run_entered(
        &self,
        requests: Vec<Request>,
        adapter: Option<&str>,
        results: &mut [Vec<f32>],
    ) -> Result<(), ProviderError> {
        let (reply, done) = channel();
        // After an error nobody waits for the others.
        let wanted = Arc::new(());
        for (index, request) in requests.into_iter().enumerate() {
            let (reply, wanted) = (reply.clone(), Arc::downgrade(&wanted));
            self.send_with_adapter(adapter, |adapter| {
                let request = Request { adapter, ..request };
                Command::Compute(Box::new(Task { request, index, reply, wanted }))
            })?;
        }
        drop(reply);
        for _ in 0..results.len() {
            let Outcome { index, result } = self.heard(&done)?;
            results[index] = result?;
        }
        Ok(())
    }

    fn heard<T>(&self, receiver: &Receiver<T>) -> Result<T, ProviderError> {
        let gone = || self.shared.broken_error("its thread has ended");
        receiver.recv().map_err(|_| self.shared.broken().unwrap_or_else(gone))
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what uses the adapter of this name. One that is let go of meanwhile is let go of after
    /// that: both are sent while the names are held.
    pub(super) fn send_with_adapter(
        &self,
        name: Option<&str>,
        command: impl FnOnce(Option<AdapterId>) -> Command,
    ) -> Result<(), ProviderError> {
        let Some(name) = name else { return self.send(command(None)) };
        let names = self.names();
        let id = id_of(&names, name)?;
        self.send(command(Some(id)))
    }

    /// Whether there is the adapter that a turn asks for.
    pub(super) fn check_adapter(&self, turn: &Turn) -> Result<(), ProviderError> {
        let Some(name) = &turn.adapter else { return Ok(()) };
        id_of(&self.names(), name).map(drop)
    }

    pub(super) fn take_adapter(
        &self,
        name: &str,
        path: &Path,
        scale: f32,
    ) -> Result<Adapter, ProviderError> {
        let what = || format!("the adapter {}", path.display());
        let file = AdapterFile::open(path);
        let file = file.map_err(|error| unloadable(what(), in_full(&error)))?;
        let (reply, done): (Sender<_>, Receiver<_>) = channel();
        self.send(Command::LoadAdapter { file: Box::new(file), scale, reply })?;
        let info: AdapterInfo =
            self.heard(&done)?.map_err(|error| unloadable(what(), in_full(&error)))?;
        let mut names = self.names();
        if let Some(before) = names.insert(name.to_owned(), info) {
            self.send(Command::DropAdapter(before.id))?;
        }
        Ok(told(name, &info))
    }

    pub(super) fn let_go(&self, name: &str) -> Result<bool, ProviderError> {
        let mut names = self.names();
        let Some(info) = names.remove(name) else { return Ok(false) };
        self.send(Command::DropAdapter(info.id))?;
        Ok(true)
    }

    pub(super) fn loaded_adapters(&self) -> Vec<Adapter> {
        self.names().iter().map(|(name, info)| told(name, info)).collect()
    }
}

fn id_of(names: &Names, name: &str) -> Result<AdapterId, ProviderError> {
    if let Some(info) = names.get(name) {
        return Ok(info.id);
    }
    let loaded: Vec<String> = names.keys().map(|name| format!("`{name}`")).collect();
    let loaded = if loaded.is_empty() { "none".to_owned() } else { loaded.join(", ") };
    Err(ProviderError::UnknownAdapter { name: name.to_owned(), loaded })
}

fn told(name: &str, info: &AdapterInfo) -> Adapter {
    let AdapterInfo { rank, bytes, scale, .. } = *info;
    Adapter { name: name.to_owned(), rank, bytes: bytes as u64, scale }
}

/// Scales a vector to length 1; one without a length stays as it is.
fn scale_to_one(values: &mut [f32]) {
    let sum: f64 = values.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    if sum > 0.0 && sum.is_finite() {
        let scale = 1.0 / sum.sqrt();
        for value in values {
            *value = (f64::from(*value) * scale) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_get_the_length_one() {
        let mut values = [3.0, 4.0];
        scale_to_one(&mut values);
        assert_eq!(values, [0.6, 0.8]);
        let mut nothing = [0.0; 2];
        scale_to_one(&mut nothing);
        assert_eq!(nothing, [0.0; 2]);
    }
}
