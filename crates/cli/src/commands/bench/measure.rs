//! Runs a test through the engine, again and again, and takes the time.
//!
//! Before the clock starts, the sequences are filled to their depth (each by itself: shared blocks
//! would stay in the caches) and a pass like those of the test is run once. Tokens are random, as
//! in llama-bench; what a model says does not change what it costs.

use std::time::Instant;

use anyhow::Result;
use lucid_engine::{Engine, Feed, SequenceId, Wanted};
use lucid_tensor::TokenId;

use super::{Kind, Progress, Test};
use crate::interrupt::Listening;

/// Rows of a pass, as llama.cpp's `n_ubatch`.
pub(super) const CHUNK: usize = 512;

/// Ctrl-C was pressed.
#[derive(Debug)]
pub(super) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

pub(super) struct Runner<'a> {
    engine: Engine,
    listening: &'a Listening,
    progress: Progress,
    /// State of the generator of tokens.
    random: u64,
    /// Sequences that are filled up to some depth.
    sequences: Vec<SequenceId>,
}

impl<'a> Runner<'a> {
    pub(super) fn new(engine: Engine, listening: &'a Listening, progress: Progress) -> Self {
        Self { engine, listening, progress, random: 1, sequences: Vec::new() }
    }

    /// The seconds that each repetition took.
    pub(super) fn seconds(&mut self, test: Test, repetitions: usize) -> Result<Vec<f64>> {
        let name = test.name();
        let sequences = self.sequences_at(&name, test.sequences, test.depth)?;
        let warm_up = match test.kind {
            Kind::Prompt => test.tokens.min(CHUNK),
            Kind::Generate => 1,
        };
        self.progress.say(&format!("{name}: warming up"));
        self.once(test.kind, warm_up, test.depth, &sequences)?;
        let mut seconds = Vec::with_capacity(repetitions);
        for repetition in 1..=repetitions {
            self.progress.say(&format!("{name}: run {repetition} of {repetitions}"));
            seconds.push(self.once(test.kind, test.tokens, test.depth, &sequences)?);
        }
        self.progress.clear();
        Ok(seconds)
    }

    /// That many sequences of that depth.
    fn sequences_at(&mut self, name: &str, count: usize, depth: usize) -> Result<Vec<SequenceId>> {
        while self.sequences.len() > count {
            self.sequences.pop().map_or(Ok(()), |sequence| self.engine.close(sequence))?;
        }
        while self.sequences.len() < count {
            let sequence = self.engine.open();
            self.sequences.push(sequence);
        }
        let sequences = self.sequences.clone();
        for (index, &sequence) in sequences.iter().enumerate() {
            let filled = self.engine.tokens(sequence)?.len();
            if filled > depth {
                self.engine.truncate(sequence, depth)?;
            } else if filled < depth {
                self.progress.say(&format!(
                    "{name}: filling {depth} tokens of context, sequence {} of {count}",
                    index + 1
                ));
                self.prompt(sequence, depth - filled)?;
            }
        }
        Ok(sequences)
    }

    /// Runs a test once, and undoes it.
    fn once(
        &mut self,
        kind: Kind,
        tokens: usize,
        depth: usize,
        sequences: &[SequenceId],
    ) -> Result<f64> {
        let start = Instant::now();
        match kind {
            Kind::Prompt => self.prompt(sequences[0], tokens)?,
            Kind::Generate => self.generate(sequences, tokens)?,
        }
        let seconds = start.elapsed().as_secs_f64();
        for &sequence in sequences {
            self.engine.truncate(sequence, depth)?;
        }
        Ok(seconds)
    }

    fn prompt(&mut self, sequence: SequenceId, count: usize) -> Result<()> {
        let tokens: Vec<TokenId> = (0..count).map(|_| self.token()).collect();
        let mut left = count;
        for chunk in tokens.chunks(CHUNK) {
            self.check()?;
            left -= chunk.len();
            let wanted = if left == 0 { Wanted::Last } else { Wanted::None };
            self.engine.forward(&[Feed { sequence, tokens: chunk, wanted }])?;
        }
        Ok(())
    }

    /// A token for each sequence in each pass.
    fn generate(&mut self, sequences: &[SequenceId], count: usize) -> Result<()> {
        for _ in 0..count {
            self.check()?;
            let tokens: Vec<TokenId> = sequences.iter().map(|_| self.token()).collect();
            let feeds: Vec<_> = sequences
                .iter()
                .zip(tokens.chunks(1))
                .map(|(&sequence, tokens)| Feed { sequence, tokens, wanted: Wanted::Last })
                .collect();
            self.engine.forward(&feeds)?;
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if self.listening.interrupted() {
            self.progress.clear();
            return Err(Interrupted.into());
        }
        Ok(())
    }

    /// Any token of the vocabulary (Knuth's linear congruential generator).
    fn token(&mut self) -> TokenId {
        self.random =
            self.random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let vocab_size = self.engine.config().vocab_size as u64;
        ((self.random >> 33) % vocab_size) as TokenId
    }
}
