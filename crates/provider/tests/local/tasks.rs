//! Embeddings, ranking, adapters, snapshots, guesses.

use std::path::{Path, PathBuf};

use lucid_checkpoint::Checkpoint;
use lucid_provider::local::{DiskOptions, Local, LocalOptions, Watch};
use lucid_provider::{ClientId, EmbeddingKind, Prompt, Provider as _, ProviderError};
use lucid_sys::Bytes;
use lucid_tensor::{MetaArray, MetaValue};

use crate::fixture::{answer, greedy, options, seeded, stories, text, tiny, tiny_with};
use crate::tiny::{Tiny, VOCABULARY};

const ME: ClientId = ClientId(0);

#[test]
fn texts_have_vectors() {
    let Some(local) = stories(&options()) else { return };
    let texts = ["a dog", "a dog", "the moon was big"].map(Prompt::text);
    let kind = EmbeddingKind::default();
    let found = local.embed(&texts, kind, ME).unwrap();
    assert_eq!(found.list.len(), 3);
    assert_eq!(found.list[0], found.list[1]);
    assert_ne!(found.list[0].values, found.list[2].values);
    assert_eq!(found.tokens, found.list.iter().map(|it| it.tokens).sum::<usize>());
    for embedding in &found.list {
        assert_eq!(embedding.values.len(), local.card().embedding_len);
        let length: f32 = embedding.values.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }
    let raw = EmbeddingKind { dimensions: Some(5), raw: true };
    let raw = local.embed(&texts[2..], raw, ME).unwrap();
    let ratio = raw.list[0].values[1] / raw.list[0].values[0];
    assert!((ratio - found.list[2].values[1] / found.list[2].values[0]).abs() < 1e-4);
    assert_eq!(raw.list[0].values.len(), 5);
    let none = EmbeddingKind { dimensions: Some(0), raw: false };
    assert!(matches!(local.embed(&texts, none, ME), Err(ProviderError::Invalid { .. })));
    assert!(local.embed(&[Prompt::chat(Vec::new())], kind, ME).is_err());
    assert_eq!(local.embed(&[], kind, ME).unwrap().list, []);
}

#[test]
fn documents_are_ranked() {
    let Some(local) = stories(&options()) else { return };
    let documents = ["the moon was big", "a dog", "one"].map(str::to_owned);
    let ranking = local.rank("a dog", &documents, ME).unwrap();
    assert!((ranking.scores[1] - 1.0).abs() < 1e-5, "{ranking:?}");
    assert!(ranking.scores[0] < ranking.scores[1] && ranking.scores[2] < ranking.scores[1]);
}

#[test]
fn adapters_that_cannot_be_used_are_refused() {
    let local = tiny();
    let error = local.load_adapter("x", Path::new("nowhere.gguf"), 1.0).unwrap_err();
    assert!(error.to_string().starts_with("the adapter nowhere.gguf: "), "{error}");
    assert!(!local.drop_adapter("x").unwrap());
    assert_eq!(local.adapters(), []);
}

/// A folder that goes away.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_is_kept_outlives_the_model() {
    let name = format!("lucid-provider-{}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    let disk = DiskOptions { folder: folder.0.clone(), bytes_max: 1 << 30, key: [7; 32] };
    let kept = LocalOptions { disk: Some(disk), ..options() };
    let turn = text(&"ab".repeat(100), 3, greedy());
    let first = {
        let local = tiny_with(|tiny| tiny, &kept);
        assert!(local.card().capabilities.snapshot);
        assert_eq!(local.snapshot(&turn).unwrap(), 192);
        answer(&local, turn.clone())
    };
    let local = tiny_with(|tiny| tiny, &kept);
    let again = answer(&local, turn.clone());
    assert_eq!(again.text, first.text);
    assert_eq!(again.usage.cached_tokens, 192);
    assert_eq!(local.stats().disk_tokens, 192);
    assert!(tiny().snapshot(&turn).is_err());
}

#[test]
fn what_cannot_be_kept_is_said() {
    let name = format!("lucid-provider-gone-{}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    let disk = DiskOptions { folder: folder.0.join("kv"), bytes_max: 1 << 30, key: [7; 32] };
    let local = tiny_with(|tiny| tiny, &LocalOptions { disk: Some(disk), ..options() });
    assert_eq!(local.trouble(), None);
    // A file stands where the folder was.
    std::fs::remove_dir_all(folder.0.join("kv")).unwrap();
    std::fs::write(folder.0.join("kv"), "").unwrap();
    let turn = text(&"ab".repeat(100), 3, greedy());
    let error = local.snapshot(&turn).unwrap_err().to_string();
    assert!(error.contains("it can keep nothing at present"), "{error}");
    assert!(local.trouble().is_some_and(|trouble| error.contains(&trouble)));
}

fn draft_of(tiny: &Tiny) -> Checkpoint {
    Checkpoint::from_gguf_bytes(Path::new("draft.gguf"), Bytes::from(tiny.bytes())).unwrap()
}

#[test]
fn guesses_change_nothing() {
    let Some(plain) = stories(&LocalOptions { lookup: false, ..options() }) else { return };
    let draft = draft_of(&Tiny::new());
    let guessed = stories(&options()).unwrap();
    for seed in 0..3 {
        let turn = text("Once upon a time", 60, seeded(seed));
        assert_eq!(answer(&plain, turn.clone()).text, answer(&guessed, turn).text);
    }
    let drafted = LocalOptions { draft: Some(draft), lookup: false, ..options() };
    let local = tiny_with(|tiny| tiny, &drafted);
    let alone = answer(&tiny(), text("ab", 100, greedy()));
    let helped = answer(&local, text("ab", 100, greedy()));
    assert_eq!(helped.text, alone.text);
    // A draft of another vocabulary is refused.
    let tokens = MetaArray::texts((0..VOCABULARY).map(|index| format!("t{index}")));
    let other = Tiny::new().with("tokenizer.ggml.tokens", MetaValue::Array(tokens));
    let other = other.without("tokenizer.ggml.merges");
    let bytes = Bytes::from(other.bytes());
    let draft = Checkpoint::from_gguf_bytes(Path::new("other.gguf"), bytes).unwrap();
    let options = LocalOptions { draft: Some(draft), ..options() };
    let mut watch = Watch { progress: &mut |_, _| {}, warn: &mut |_| {} };
    let refused = Local::load("test", &draft_of(&Tiny::new()), &options, &mut watch);
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("the draft model other.gguf: its vocabulary"), "{error}");
}
