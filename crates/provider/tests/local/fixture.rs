//! Models of these tests, and turns.

use std::path::{Path, PathBuf};

use lucid_checkpoint::Checkpoint;
use lucid_provider::local::{Compute, Local, LocalOptions, Watch};
use lucid_provider::{Answer, Prompt, Provider as _, Sampling, Turn};
use lucid_sys::Bytes;

use crate::tiny::Tiny;

/// Loads a model; warnings are part of its card.
pub(crate) fn load(checkpoint: &Checkpoint, options: &LocalOptions) -> Local {
    let (mut progress, mut warn) = (|_, _| {}, |_: &str| {});
    let mut watch = Watch { progress: &mut progress, warn: &mut warn };
    Local::load("test", checkpoint, options, &mut watch).unwrap()
}

/// One thread.
pub(crate) fn options() -> LocalOptions {
    LocalOptions {
        compute: Compute { threads: Some(1), ..Compute::default() },
        ..LocalOptions::default()
    }
}

/// The model whose every answer is known: bytes are followed by the next byte, an answer reads
/// "Hi!".
pub(crate) fn tiny_with(change: impl FnOnce(Tiny) -> Tiny, options: &LocalOptions) -> Local {
    let bytes = Bytes::from(change(Tiny::new()).bytes());
    let checkpoint = Checkpoint::from_gguf_bytes(Path::new("tiny.gguf"), bytes).unwrap();
    load(&checkpoint, options)
}

/// The same as it is.
pub(crate) fn tiny() -> Local {
    tiny_with(|tiny| tiny, &options())
}

/// The trained model of 260 K parameters, or `None` with a note.
pub(crate) fn stories(options: &LocalOptions) -> Option<Local> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let shared = std::env::var_os("LUCID_SHARED").map_or_else(|| default.into(), PathBuf::from);
    let file = shared.join("models/stories260K/stories260K.bin");
    if !file.is_file() {
        println!("skipped: ../shared/data is absent");
        return None;
    }
    let tokenizer = Some(file.with_file_name("tok512.bin"));
    let options = LocalOptions { tokenizer, ..options.clone() };
    Some(load(&Checkpoint::open(&file).unwrap(), &options))
}

/// The continuation of a text.
pub(crate) fn text(text: &str, new_tokens_max: usize, sampling: Sampling) -> Turn {
    let new_tokens_max = Some(new_tokens_max);
    Turn { prompt: Prompt::text(text), sampling, new_tokens_max, ..Turn::default() }
}

pub(crate) fn greedy() -> Sampling {
    Sampling { temperature: Some(0.0), ..Sampling::default() }
}

pub(crate) fn seeded(seed: u64) -> Sampling {
    Sampling { seed: Some(seed), ..Sampling::default() }
}

/// The answers, which must come.
pub(crate) fn answers(local: &Local, turn: Turn) -> Vec<Answer> {
    local.generate(turn).unwrap().gather_here().unwrap()
}

/// The one answer.
pub(crate) fn answer(local: &Local, turn: Turn) -> Answer {
    let mut answers = answers(local, turn);
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}
