//! A model on this machine in the heads of processes that are played by scripts: in each turn it
//! thinks aloud, and then the script acts. Its weights are random, so that what it says depends on
//! each byte it was shown and on each state of its sampler, and its acts on nothing but the script.
//! A thought begins with a hash of all that the turn shows, so that no other prompt has the same.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use lucid_checkpoint::Checkpoint;
use lucid_os::Settings;
use lucid_provider::local::{Compute, Local, LocalOptions, Watch};
use lucid_provider::{
    Answers, Capabilities, Card, Delta, Hold, Keep, LogProbs, Provider, ProviderError,
    ProviderStats, Sampling, Tools, Turn, answers,
};
use lucid_sys::Bytes;
use lucid_tensor::MetaValue;

use crate::tiny::Tiny;

/// Tokens of the model's context.
const CONTEXT: usize = 6000;

/// What the model said in a turn.
pub(crate) struct Thought {
    /// What it was asked.
    pub(crate) turn: Turn,
    /// Its tokens, with the bits of their log-probabilities.
    pub(crate) tokens: Vec<(u32, u64)>,
}

/// The model and the scripts.
pub(crate) struct Mind {
    card: Card,
    local: Arc<Local>,
    script: Arc<dyn Provider>,
    /// Tokens of a thought, by the turn's seed.
    length: fn(u64) -> usize,
    /// Whether thoughts are set aside at random tokens.
    jitters: bool,
    /// How often that was done.
    pub(crate) own_pauses: Arc<AtomicU64>,
    thoughts: Arc<Mutex<Vec<Thought>>>,
}

impl Mind {
    /// Takes the place of the scripts' provider in these settings.
    pub(crate) fn give(
        settings: &mut Settings,
        length: fn(u64) -> usize,
        jitters: bool,
    ) -> Arc<Self> {
        let script = settings.providers["puppets"].clone();
        let capabilities = Capabilities { holds: true, ..script.card().capabilities };
        let mind = Arc::new(Self {
            card: Card { capabilities, ..script.card().clone() },
            local: Arc::new(local()),
            script,
            length,
            jitters,
            own_pauses: Arc::default(),
            thoughts: Arc::default(),
        });
        settings.providers.insert("puppets".to_owned(), mind.clone());
        mind
    }

    /// How often a thought was set aside, by this and by the system.
    pub(crate) fn pauses(&self) -> u64 {
        self.local.stats().scheduler.pauses
    }

    /// All thoughts since the last time.
    pub(crate) fn take_thoughts(&self) -> Vec<Thought> {
        std::mem::take(&mut self.thoughts.lock().unwrap())
    }

    /// The same thought again, with nothing beside it and nothing in its way.
    pub(crate) fn alone(&self, turn: &Turn) -> Vec<(u32, u64)> {
        let mut answers = self.local.generate(Turn { hold: None, ..turn.clone() }).unwrap();
        let mut tokens = Vec::new();
        while let Some(delta) = answers.wait() {
            tokens.extend(tokens_of(&delta.unwrap()));
        }
        tokens
    }
}

/// With random weights all over, unsure enough for samples to differ.
fn local() -> Local {
    let mut tiny = Tiny::new()
        .with("llama.context_length", MetaValue::Unsigned(CONTEXT as u64))
        .without("llama.attention.sliding_window");
    let mut state = 7u64;
    for (name, _, values) in &mut tiny.tensors {
        if name.ends_with("attn_output.weight") || name.ends_with("ffn_down.weight") {
            for value in values.iter_mut() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *value = (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
            }
        }
        if name == "output.weight" {
            for value in values.iter_mut() {
                *value *= 0.2;
            }
        }
    }
    let bytes = Bytes::from(tiny.bytes());
    let checkpoint = Checkpoint::from_gguf_bytes(Path::new("mind.gguf"), bytes).unwrap();
    let options = LocalOptions {
        compute: Compute { threads: Some(1), context: Some(CONTEXT), ..Compute::default() },
        sequences_max: 4,
        ..LocalOptions::default()
    };
    let (mut progress, mut warn) = (|_, _| {}, |_: &str| {});
    let mut watch = Watch { progress: &mut progress, warn: &mut warn };
    Local::load("mind", &checkpoint, &options, &mut watch).unwrap()
}

fn tokens_of(delta: &Delta) -> Vec<(u32, u64)> {
    let Delta::Text { tokens, .. } = delta else { return Vec::new() };
    let bits = |token: &lucid_provider::Spoken| {
        let probable = token.log_prob.as_ref().map_or(0, |it| it.value.to_bits());
        (token.token.unwrap_or_default(), probable)
    };
    tokens.iter().map(bits).collect()
}

/// The next of a series of numbers that look random.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    *state >> 33
}

/// Sets a thought aside now and then.
struct Jitter {
    state: u64,
    until: u64,
    pauses: Arc<AtomicU64>,
}

impl Jitter {
    fn said(&mut self, tokens: usize, hold: &Hold) {
        self.until = self.until.saturating_sub(tokens as u64);
        if self.until > 0 {
            return;
        }
        self.until = 1 + random(&mut self.state) % 12;
        let blocks = random(&mut self.state).is_multiple_of(2);
        hold.pause(if blocks { Keep::Blocks } else { Keep::Tokens });
        self.pauses.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(4));
        hold.resume();
    }
}

impl Provider for Mind {
    fn card(&self) -> &Card {
        &self.card
    }

    fn generate(&self, turn: Turn) -> Result<Answers, ProviderError> {
        let mut act = self.script.generate(turn.clone())?;
        let seed = turn.sampling.seed.unwrap();
        let thought = Turn {
            tools: Tools::default(),
            sampling: Sampling { temperature: Some(1.0), ..turn.sampling.clone() },
            new_tokens_max: Some((self.length)(seed)),
            ignore_end: true,
            log_probs: Some(LogProbs { alternatives: 0, prompt: false }),
            ..turn
        };
        let asked = thought.clone();
        let shown = format!("{:?} {seed}", asked.prompt);
        let mark = lucid_os::ContentId::of(shown.as_bytes()).to_string()[..16].to_owned();
        let mut words = self.local.generate(thought)?;
        let (teller, told) = answers();
        let (thoughts, pauses) = (self.thoughts.clone(), self.own_pauses.clone());
        let mut jitter = self.jitters.then_some(Jitter { state: seed, until: 1, pauses });
        thread::spawn(move || {
            let mut tokens = Vec::new();
            while let Some(delta) = words.wait() {
                match delta {
                    Ok(delta @ (Delta::Begun { .. } | Delta::Text { .. })) => {
                        let new = tokens_of(&delta);
                        if let (Some(jitter), Some(hold)) = (&mut jitter, &asked.hold) {
                            jitter.said(new.len(), hold);
                        }
                        tokens.extend(new);
                        let begins = matches!(delta, Delta::Begun { .. });
                        if !teller.tell(Ok(delta)) {
                            return;
                        }
                        if begins {
                            let text = format!("{mark} ");
                            teller.tell(Ok(Delta::Text { sample: 0, text, tokens: Vec::new() }));
                        }
                    }
                    Ok(_) => {}
                    Err(error) => {
                        teller.tell(Err(error));
                        return;
                    }
                }
            }
            thoughts.lock().unwrap().push(Thought { turn: asked, tokens });
            while let Some(delta) = act.wait() {
                if !matches!(delta, Ok(Delta::Begun { .. })) {
                    teller.tell(delta);
                }
            }
        });
        Ok(told)
    }

    fn count_tokens(&self, turn: &Turn) -> Result<usize, ProviderError> {
        self.script.count_tokens(turn)
    }

    fn stats(&self) -> ProviderStats {
        self.local.stats()
    }
}
