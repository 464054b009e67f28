//! Which files of a repository make a model, and which model is chosen when none is named.
//! Pure: names and sizes in, indices and a reason out.

use std::collections::BTreeMap;

use super::api::RepoFile;
use crate::names::{has_label, is_companion, parse_shard, printable, split_extension};
use crate::{HubError, PullSpec};

/// Labels in order of preference: four bits with little loss, then the nearest sizes.
const PREFERRED: [&str; 21] = [
    "Q4_K_M", "Q4_0", "Q8_0", "Q4_K_S", "IQ4_NL", "IQ4_XS", "MXFP4", "Q4_1", "Q5_K_M", "Q5_K_S",
    "Q5_0", "Q5_1", "Q6_K", "Q3_K_M", "Q3_K_L", "Q3_K_S", "Q2_K", "BF16", "F16", "FP16", "F32",
];

/// What belongs to a safetensors model besides its weights.
const COMPANIONS: [&str; 12] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
];

/// A chosen model; numbers are indices into the listing.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) files: Vec<usize>,
    /// The file to open, or none: the folder.
    pub(super) opens: Option<usize>,
    pub(super) reason: String,
    pub(super) alternatives: Vec<(String, u64)>,
}

/// All shards of one weights file.
struct Set {
    /// Without shard suffix and extension.
    stem: String,
    files: Vec<usize>,
    bytes: u64,
}

pub(super) fn choose(spec: &PullSpec, files: &[RepoFile]) -> Result<Choice, HubError> {
    let ggufs = sets(files, "gguf", |stem| !is_companion(stem));
    match &spec.file {
        Some(wanted) => named(spec, wanted, files, ggufs),
        None if ggufs.is_empty() => safetensors(spec, files),
        None => Ok(preferred(ggufs)),
    }
}

/// The file or the label that was asked for.
fn named(
    spec: &PullSpec,
    wanted: &str,
    files: &[RepoFile],
    ggufs: Vec<Set>,
) -> Result<Choice, HubError> {
    let repo = || spec.repo.to_string();
    if let Some(index) = files.iter().position(|file| file.name == wanted) {
        if is_pickle_name(wanted) {
            return Err(HubError::Pickle { repo: repo(), file: printable(wanted) });
        }
        let shards = ggufs.iter().position(|set| set.files.contains(&index));
        if let Some(position) = shards {
            return Ok(take(ggufs, position, "the file that was named".to_owned()));
        }
        let (_, extension) = split_extension(wanted);
        let root = |name: &str| files.iter().position(|file| file.name == name);
        let companion = if extension == "bin" { root("tokenizer.bin") } else { None };
        let mut chosen: Vec<usize> = companion.into_iter().filter(|c| *c != index).collect();
        chosen.push(index);
        return Ok(Choice {
            files: chosen,
            opens: Some(index),
            reason: "the file that was named".to_owned(),
            alternatives: Vec::new(),
        });
    }
    if wanted.eq_ignore_ascii_case("safetensors") {
        return safetensors(spec, files);
    }
    let lower = wanted.to_lowercase();
    let stem = lower.strip_suffix(".gguf").unwrap_or(&lower); // the rest of "0.6B" is no extension
    let position = ggufs
        .iter()
        .position(|set| set.stem.eq_ignore_ascii_case(stem))
        .or_else(|| shortest(&ggufs, |set| has_label(&set.stem, stem)));
    match position {
        Some(position) => {
            let reason = format!("fits \"{}\"", printable(wanted));
            Ok(take(ggufs, position, reason))
        }
        None => Err(HubError::NoSuchFile {
            repo: repo(),
            file: printable(wanted),
            available: weights_names(files),
        }),
    }
}

fn preferred(ggufs: Vec<Set>) -> Choice {
    if ggufs.len() == 1 {
        return take(ggufs, 0, "the only GGUF of the repository".to_owned());
    }
    let labelled = PREFERRED.iter().find_map(|label| {
        shortest(&ggufs, |set| has_label(&set.stem, label)).map(|position| (position, label))
    });
    if let Some((position, label)) = labelled {
        let reason = format!("{label} is the first of Lucid's preferences that the repository has");
        return take(ggufs, position, reason);
    }
    let smallest = (0..ggufs.len()).min_by_key(|index| ggufs[*index].bytes).unwrap_or_default();
    take(ggufs, smallest, "the smallest, as no name has a label that Lucid prefers".to_owned())
}

/// Of the sets that fit, the one with the shortest name: `m-Q4_K_M` before `m-draft-Q4_K_M`.
fn shortest(sets: &[Set], fits: impl Fn(&Set) -> bool) -> Option<usize> {
    let fitting = (0..sets.len()).filter(|index| fits(&sets[*index]));
    fitting.min_by_key(|index| (sets[*index].stem.len(), *index))
}

fn take(mut sets: Vec<Set>, position: usize, reason: String) -> Choice {
    let chosen = sets.remove(position);
    Choice {
        opens: chosen.files.first().copied(),
        files: chosen.files,
        reason,
        alternatives: sets.into_iter().map(|s| (printable(&s.stem), s.bytes)).collect(),
    }
}

/// Weights at the root with what belongs to them; the small files first, so that the folder counts
/// as a model only once the last shard is there.
fn safetensors(spec: &PullSpec, files: &[RepoFile]) -> Result<Choice, HubError> {
    let mut weights =
        sets(files, "safetensors", |stem| !stem.contains('/') && !stem.contains("adapter"));
    let position = |name: &str| files.iter().position(|file| file.name == name);
    if weights.is_empty() || position("config.json").is_none() {
        let pickles = files.iter().filter(|file| is_pickle_name(&file.name)).count();
        return Err(HubError::NoWeights { repo: spec.repo.to_string(), pickles });
    }
    let best = weights.iter().position(|set| set.stem == "model").unwrap_or_default();
    let chosen = weights.remove(best);
    let mut list: Vec<usize> = COMPANIONS.iter().filter_map(|name| position(name)).collect();
    list.extend(position(&format!("{}.safetensors.index.json", chosen.stem)));
    list.extend(&chosen.files);
    Ok(Choice {
        files: list,
        opens: None,
        reason: "safetensors with their configuration and tokenizer".to_owned(),
        alternatives: weights.into_iter().map(|s| (printable(&s.stem), s.bytes)).collect(),
    })
}

/// The complete sets of an extension, in order of name.
fn sets(files: &[RepoFile], extension: &str, keep: impl Fn(&str) -> bool) -> Vec<Set> {
    let mut found: BTreeMap<(&str, u32), BTreeMap<u32, usize>> = BTreeMap::new();
    for (position, file) in files.iter().enumerate() {
        let (stem, own) = split_extension(&file.name);
        if own == extension {
            let (key, index) = match parse_shard(stem) {
                Some(shard) => ((shard.stem, shard.count), shard.index),
                None => ((stem, 0), 0),
            };
            found.entry(key).or_default().insert(index, position);
        }
    }
    found
        .into_iter()
        .filter(|((stem, count), shards)| keep(stem) && shards.len() as u64 >= u64::from(*count))
        .map(|((stem, _), shards)| {
            let files_of: Vec<usize> = shards.into_values().collect();
            let sizes = files_of.iter().map(|index| files[*index].bytes.unwrap_or_default());
            Set {
                stem: stem.to_owned(),
                bytes: sizes.fold(0, u64::saturating_add),
                files: files_of,
            }
        })
        .collect()
}

/// Names that only pickles of PyTorch have. (Other `.bin` files are looked at when they arrive.)
fn is_pickle_name(name: &str) -> bool {
    let (stem, extension) = split_extension(name.rsplit('/').next().unwrap_or(name));
    match extension.as_str() {
        "pt" | "pth" | "ckpt" | "pkl" | "pickle" => true,
        "bin" => ["pytorch_model", "adapter_model", "training_args", "consolidated", "optimizer"]
            .iter()
            .any(|known| stem.starts_with(known)),
        _ => false,
    }
}

fn weights_names(files: &[RepoFile]) -> Vec<String> {
    let is_weights =
        |file: &&RepoFile| matches!(split_extension(&file.name).1.as_str(), "gguf" | "safetensors");
    files.iter().filter(is_weights).take(20).map(|file| printable(&file.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that are chosen for `wanted`, or the error's text.
    fn check(names: &[&str], wanted: Option<&str>, expected: &[&str]) {
        let file =
            |name: &&str| RepoFile { name: (*name).to_owned(), bytes: Some(1), checksum: None };
        let files: Vec<RepoFile> = names.iter().map(file).collect();
        let repo = "org/repo".parse().unwrap();
        let spec = PullSpec { repo, file: wanted.map(str::to_owned) };
        let found: Vec<String> = match choose(&spec, &files) {
            Ok(choice) => choice.files.iter().map(|i| files[*i].name.clone()).collect(),
            Err(error) => vec![error.to_string()],
        };
        let same = found.len() == expected.len()
            && found.iter().zip(expected).all(|(found, want)| found.contains(want));
        assert!(same, "{names:?} {wanted:?}: {found:?} is not {expected:?}");
    }

    #[test]
    fn gguf_preferences() {
        let all = ["m-Q8_0.gguf", "m-Q4_0.gguf", "m-Q4_K_M.gguf", "mmproj-F16.gguf", "README.md"];
        check(&all, None, &["m-Q4_K_M.gguf"]);
        check(&all[..2], None, &["m-Q4_0.gguf"]);
        check(&all, Some("q8_0"), &["m-Q8_0.gguf"]);
        check(&all, Some("m-Q8_0.gguf"), &["m-Q8_0.gguf"]);
        check(&all, Some("M-q8_0"), &["m-Q8_0.gguf"]);
        check(&all, Some("Q6_K"), &["has no file"]);
        check(&all, Some("mmproj-F16.gguf"), &["mmproj-F16.gguf"]);
        check(&["q-0.gguf", "q-0.6B-Q8_0.gguf"], Some("q-0.6b-q8_0"), &["q-0.6B-Q8_0.gguf"]);
        check(&["odd.gguf", "other.gguf"], None, &["odd.gguf"]);
        check(&["m-draft-Q4_K_M.gguf", "m-Q4_K_M.gguf"], None, &["m-Q4_K_M.gguf"]);
    }

    #[test]
    fn shards_travel_together() {
        let split = ["m-Q4_0-00002-of-00002.gguf", "m-Q4_0-00001-of-00002.gguf", "m-Q8_0.gguf"];
        let both = ["m-Q4_0-00001-of-00002.gguf", "m-Q4_0-00002-of-00002.gguf"];
        check(&split, None, &both);
        check(&split, Some("m-Q4_0-00002-of-00002.gguf"), &both);
        check(&split[1..], None, &["m-Q8_0.gguf"]); // a shard is missing
    }

    #[test]
    fn safetensors_and_pickles() {
        let names = [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "consolidated.safetensors",
            "config.json",
            "tokenizer.json",
            "pytorch_model.bin",
        ];
        let expected = [
            "config.json",
            "tokenizer.json",
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ];
        check(&names, None, &expected);
        check(&names, Some("pytorch_model.bin"), &["is a Python pickle"]);
        check(&["pytorch_model.bin", "config.json"], None, &["1 pickle files"]);
        check(&["unet/x.safetensors", "model_index.json"], None, &["has no GGUF"]);
        check(&[], None, &["has no GGUF"]);
        check(&["stories15M.bin", "stories15M.pt"], Some("stories15M.bin"), &["stories15M.bin"]);
    }
}
