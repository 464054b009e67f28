//! Listing, resolving and removing over made-up caches of all four programs.

#![allow(clippy::unwrap_used, reason = "a test ends where it goes wrong")]

mod common;

use std::path::{Path, PathBuf};

use common::Scratch;
use lucid_hub::{HubConfig, HubError, Resolved, Source, installed, remove, resolve};

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[cfg(unix)]
fn link(target: impl AsRef<Path>, at: &Path) {
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(target, at).unwrap();
}

/// A machine with one or more models in every cache, and things that are no models.
fn machine() -> (Scratch, HubConfig) {
    let scratch = Scratch::new();
    let write = |name: &str| scratch.write(name, b"12345");
    // Lucid: two quantisations, a split file, one with a shard missing, a partial download.
    write("lucid/Acme/Tiny-GGUF/Tiny-Q4_K_M.gguf");
    write("lucid/Acme/Tiny-GGUF/Tiny-Q8_0.gguf");
    write("lucid/Acme/Tiny-GGUF/.Tiny-F16.gguf.0123456789ab.part");
    write("lucid/Acme/Tiny-GGUF/mmproj-F16.gguf");
    write("lucid/Acme/Big/Q4_0/Big-Q4_0-00001-of-00002.gguf");
    write("lucid/Acme/Big/Q4_0/Big-Q4_0-00002-of-00002.gguf");
    write("lucid/Acme/Big/Q8_0/Big-Q8_0-00001-of-00002.gguf");
    write("lucid/karpathy/tinyllamas/stories15M.bin");
    write("lucid/karpathy/tinyllamas/tokenizer.bin");
    write("lucid/mine.gguf");
    // LM Studio.
    write("lmstudio/pub/Studio-GGUF/Studio-Q4_0.gguf");
    write("lmstudio/pub/Studio-GGUF/Studio-Q8_0.gguf.part");
    // Ollama: a model, one whose blob is missing, one whose blob is short, and rubbish.
    write(&format!("ollama/blobs/sha256-{HEX}"));
    let manifest = |name: &str, digest: &str, size: u64| {
        let kind = "application/vnd.ollama.image";
        let text = format!(
            r#"{{"schemaVersion":2,"layers":[
                {{"mediaType":"{kind}.template","digest":"sha256:00","size":1}},
                {{"mediaType":"{kind}.model","digest":"{digest}","size":{size}}}]}}"#
        );
        scratch.write(&format!("ollama/manifests/{name}"), text.as_bytes());
    };
    let digest = format!("sha256:{HEX}");
    manifest("registry.ollama.ai/library/llama3.2/1b", &digest, 5);
    manifest("registry.ollama.ai/library/qwen3/latest", &digest, 5);
    manifest("hf.co/org/repo/Q4_0", &digest, 5);
    manifest("registry.ollama.ai/library/partial/latest", &digest, 6);
    manifest("registry.ollama.ai/library/absent/latest", &digest.replace('0', "f"), 5);
    manifest("registry.ollama.ai/library/evil/latest", "sha256:../../lucid/mine.gguf", 5);
    scratch.write("ollama/manifests/registry.ollama.ai/library/junk/latest", b"{\"layers\":[7");
    let config = scratch.config("http://127.0.0.1:1");
    (scratch, config)
}

fn names(config: &HubConfig, source: Source) -> Vec<String> {
    let models = installed(config).into_iter();
    models.filter(|model| model.source == source).map(|model| model.name).collect()
}

#[test]
fn lists_each_cache() {
    let (_scratch, config) = machine();
    let lucid = [
        "Acme/Big:Q4_0/Big-Q4_0",
        "Acme/Tiny-GGUF:Tiny-Q4_K_M",
        "Acme/Tiny-GGUF:Tiny-Q8_0",
        "karpathy/tinyllamas:stories15M",
        "mine",
    ];
    assert_eq!(names(&config, Source::Lucid), lucid);
    assert_eq!(names(&config, Source::LmStudio), ["pub/Studio-GGUF:Studio-Q4_0"]);
    let ollama = ["hf.co/org/repo:Q4_0", "llama3.2:1b", "qwen3:latest"];
    assert_eq!(names(&config, Source::Ollama), ollama);
    let models = installed(&config);
    let split = models.iter().find(|model| model.name.starts_with("Acme/Big")).unwrap();
    assert_eq!((split.bytes, split.files.len()), (10, 2));
    assert!(split.path.ends_with("Q4_0/Big-Q4_0-00001-of-00002.gguf"));
}

#[cfg(unix)]
#[test]
fn lists_huggingface_snapshots() {
    let scratch = Scratch::new();
    let repo = "hf/models--org--Tiny--GGUF";
    scratch.write(&format!("{repo}/blobs/aaaa"), b"1234567");
    scratch.write(&format!("{repo}/blobs/bbbb.incomplete"), b"12");
    scratch.write(&format!("{repo}/refs/main"), b"rev2");
    let at = |name: &str| scratch.0.join(repo).join("snapshots").join(name);
    link("../../blobs/aaaa", &at("rev1/T-Q4_0.gguf"));
    link("../../blobs/aaaa", &at("rev1/T-Q8_0.gguf"));
    link("../../blobs/aaaa", &at("rev2/T-Q4_0.gguf"));
    link("../../blobs/bbbb", &at("rev2/T-F16.gguf")); // dangling: not complete
    link("..", &at("rev2/loop"));
    link("self", &at("rev2/self"));
    let full = "hf/models--gpt2/snapshots/rev";
    for name in ["config.json", "tokenizer.json", "model.safetensors", "pytorch_model.bin"] {
        scratch.write(&format!("{full}/{name}"), b"123");
    }
    let cut = "hf/models--org--cut/snapshots/rev";
    scratch.write(&format!("{cut}/config.json"), b"{}");
    scratch.write(&format!("{cut}/model-00001-of-00002.safetensors"), b"1");
    scratch.write("hf/datasets--org--data/snapshots/rev/x.gguf", b"1");
    scratch.write("hf/version.txt", b"1");

    let config = scratch.config("http://127.0.0.1:1");
    let models = installed(&config);
    let found: Vec<_> = models.iter().map(|m| (m.name.as_str(), m.bytes)).collect();
    let expected = [("gpt2", 3), ("org/Tiny--GGUF:T-Q4_0", 7), ("org/Tiny--GGUF:T-Q8_0", 7)];
    assert_eq!(found, expected);
    assert!(models[0].path.ends_with("snapshots/rev"));
    assert!(models[1].path.ends_with("rev2/T-Q4_0.gguf"), "refs/main names the newest");
    let refused = remove(&config, "gpt2").unwrap_err().to_string();
    assert!(refused.contains("hf cache rm model/gpt2"), "{refused}");
}

#[test]
fn resolves_what_people_type() {
    let (scratch, config) = machine();
    let q4 = scratch.0.join("lucid/Acme/Tiny-GGUF/Tiny-Q4_K_M.gguf");
    let q8 = scratch.0.join("lucid/Acme/Tiny-GGUF/Tiny-Q8_0.gguf");
    let big = scratch.0.join("lucid/Acme/Big/Q4_0/Big-Q4_0-00001-of-00002.gguf");
    let blob = scratch.0.join(format!("ollama/blobs/sha256-{HEX}"));
    let check = |name: &str, expected: &PathBuf| {
        assert_eq!(resolve(&config, name).unwrap(), Resolved::File(expected.clone()), "{name}");
    };
    check(q4.to_str().unwrap(), &q4);
    check("Acme/Tiny-GGUF:Tiny-Q4_K_M", &q4);
    check("acme/tiny-gguf:tiny-q4_k_m.GGUF", &q4);
    check("acme/tiny-gguf:Q4_K_M", &q4);
    check("tiny-gguf:q8_0", &q8);
    check("Tiny-Q8_0", &q8);
    check("tiny-q8", &q8); // a prefix of one name
    check("https://huggingface.co/Acme/Tiny-GGUF/blob/main/Tiny-Q8_0.gguf", &q8);
    check("Acme/Big", &big);
    check("big", &big);
    check("Acme/Big:Q4_0/Big-Q4_0-00001-of-00002.gguf", &big);
    check("llama3.2:1b", &blob);
    check("llama3.2", &blob);
    check("qwen3", &blob);
    check("mine", &scratch.0.join("lucid/mine.gguf"));
    check("stories15M", &scratch.0.join("lucid/karpathy/tinyllamas/stories15M.bin"));
}

#[test]
fn resolves_what_is_not_there() {
    let (_scratch, config) = machine();
    let Resolved::Ambiguous(several) = resolve(&config, "Acme/Tiny-GGUF").unwrap() else {
        panic!("two quantisations are ambiguous")
    };
    assert_eq!(several.len(), 2);
    let not_on_disk = |name: &str| match resolve(&config, name).unwrap() {
        Resolved::NotOnDisk { repo, file } => (repo.to_string(), file),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(not_on_disk("Acme/Other"), ("Acme/Other".to_owned(), None));
    let other = ("Acme/Tiny-GGUF".to_owned(), Some("Q6_K".to_owned()));
    assert_eq!(not_on_disk("Acme/Tiny-GGUF:Q6_K"), other);
    let unknown = |name: &str| match resolve(&config, name).unwrap() {
        Resolved::Unknown { suggestions } => suggestions,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(unknown("qwne3"), ["qwen3:latest"]);
    assert!(unknown("./no/such.gguf").is_empty());
    assert!(unknown("/no/such/file").is_empty());
    assert!(unknown(&"x".repeat(1 << 20)).is_empty());
    assert!(unknown("\0").is_empty());
    assert!(matches!(resolve(&config, " "), Err(HubError::BadName { .. })));
}

#[test]
fn removes_only_what_is_lucids() {
    let (scratch, config) = machine();
    let gone = remove(&config, "Acme/Big").unwrap();
    assert_eq!(gone.bytes, 10);
    assert!(!scratch.0.join("lucid/Acme/Big/Q4_0").exists(), "empty folders go");
    assert!(scratch.0.join("lucid/Acme/Big/Q8_0").exists(), "the unfinished one stays");
    let gone = remove(&config, "Acme/Big").unwrap();
    assert_eq!(gone.bytes, 5, "what is unfinished goes when it is asked for");
    assert!(!scratch.0.join("lucid/Acme/Big").exists());

    let text = |name: &str| remove(&config, name).unwrap_err().to_string();
    assert!(text("Acme/Tiny-GGUF").contains("could be any of"));
    assert!(text("tiny-q8").contains("did you mean Acme/Tiny-GGUF:Tiny-Q8_0"), "no prefixes");
    assert!(text("llama3.2:1b").contains("ollama rm llama3.2:1b"));
    assert!(text("Studio-Q4_0").contains("My Models"));
    assert!(text("../../x").contains("no model"));
    assert_eq!(remove(&config, "Tiny-Q8_0").unwrap().bytes, 5);
    assert_eq!(names(&config, Source::Lucid).len(), 3);
    assert!(scratch.0.join(format!("ollama/blobs/sha256-{HEX}")).exists());
}

#[test]
fn odd_caches_are_empty() {
    let scratch = Scratch::new();
    let mut config = scratch.config("http://127.0.0.1:1");
    assert!(installed(&config).is_empty(), "no cache at all");
    config.cache = scratch.write("a-file", b"x");
    config.huggingface_caches = vec![PathBuf::new(), scratch.0.join("nul\0byte")];
    assert!(installed(&config).is_empty());
    // A deep tree is cut off, not followed to the end.
    let mut deep = "lucid/a/b".to_owned();
    for _ in 0..200 {
        deep += "/d";
    }
    scratch.write(&format!("{deep}/m.gguf"), b"x");
    assert!(installed(&scratch.config("http://127.0.0.1:1")).is_empty());
}
