//! From what a person typed to a model on disk, or to what can be done about it.

use std::path::{Path, PathBuf};

use crate::names::{has_label, parse_shard, split_extension};
use crate::{HubConfig, HubError, LocalModel, PullSpec, RepoId, installed};

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// A file or folder that exists.
    File(PathBuf),
    /// A repository of the hub of which nothing fitting lies on disk; it can be pulled.
    NotOnDisk {
        /// The repository.
        repo: RepoId,
        /// The file or quantisation label, if one was given.
        file: Option<String>,
    },
    /// Several installed models answer to the name.
    Ambiguous(Vec<LocalModel>),
    /// Neither a file nor a model nor the name of a repository.
    Unknown {
        /// Installed names that come close, best first, at most five.
        suggestions: Vec<String>,
    },
}

/// Finds the model that `name` means: a path, a name from [`installed`] (in any case, without its
/// tag, extension or organisation, or a prefix of it that fits one model), or `ORG/REPO[:FILE]`
/// where `FILE` may be a quantisation label such as `Q4_K_M`.
///
/// # Errors
/// [`HubError::BadName`] if `name` is empty.
pub fn resolve(config: &HubConfig, name: &str) -> Result<Resolved, HubError> {
    // A path may begin or end with a space.
    if Path::new(name).exists() {
        return Ok(Resolved::File(PathBuf::from(name)));
    }
    let name = name.trim();
    if name.is_empty() {
        return Err(HubError::BadName { name: String::new(), reason: "it is empty" });
    }
    if Path::new(name).exists() {
        return Ok(Resolved::File(PathBuf::from(name)));
    }
    let models = installed(config);
    let mut found = best_matches(&models, name, Closeness::Prefix);
    if found.len() > 1 {
        return Ok(Resolved::Ambiguous(found));
    }
    if let Some(model) = found.pop() {
        return Ok(Resolved::File(model.path));
    }
    // A path that does not exist is no repository, whatever its shape.
    let names_a_file = !name.contains(':') && split_extension(name).1 == "gguf";
    let is_path = names_a_file || name.starts_with(['.', '/', '~', '\\']);
    match name.parse::<PullSpec>() {
        Ok(spec) if !is_path => Ok(Resolved::NotOnDisk { repo: spec.repo, file: spec.file }),
        _ => Ok(Resolved::Unknown { suggestions: suggestions(&models, name) }),
    }
}

/// How loosely a name may fit, each step including those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Closeness {
    /// The whole name.
    Full,
    /// A part that stands on its own: the file, the repository, the label.
    Part,
    /// The beginning of a name or of such a part.
    Prefix,
}

/// The models that fit `name` at the closest step that has any. The same model in several caches
/// counts once; the first source wins.
pub(crate) fn best_matches(
    models: &[LocalModel],
    name: &str,
    loosest: Closeness,
) -> Vec<LocalModel> {
    let wanted = normal(&name.parse::<PullSpec>().map_or(name.to_owned(), |s| s.to_string()));
    for step in [Closeness::Full, Closeness::Part, Closeness::Prefix] {
        if step > loosest {
            break;
        }
        let mut found: Vec<LocalModel> = Vec::new();
        for model in models.iter().filter(|model| fits(model, &wanted, step)) {
            if !found.iter().any(|kept| kept.name.eq_ignore_ascii_case(&model.name)) {
                found.push(model.clone());
            }
        }
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

fn fits(model: &LocalModel, wanted: &str, closeness: Closeness) -> bool {
    let name = normal(&model.name);
    match closeness {
        Closeness::Full => name == wanted,
        Closeness::Part => {
            parts(&name).iter().any(|part| part == wanted)
                || wanted.rsplit_once(':').is_some_and(|(repo, label)| {
                    let Some((own_repo, stem)) = name.split_once(':') else { return false };
                    let same_repo = own_repo == repo || after_slash(own_repo) == repo;
                    same_repo && has_label(stem, label)
                })
        }
        Closeness::Prefix => {
            name.starts_with(wanted) || parts(&name).iter().any(|part| part.starts_with(wanted))
        }
    }
}

/// The parts of a name that people use alone.
fn parts(name: &str) -> Vec<String> {
    let (repo, stem) = name.split_once(':').map_or((name, None), |(a, b)| (a, Some(b)));
    let mut parts = vec![repo.to_owned(), after_slash(repo).to_owned()];
    if let Some(stem) = stem {
        parts.push(format!("{}:{stem}", after_slash(repo)));
        // A tag of Ollama ("latest") is no name on its own.
        if repo.contains('/') {
            parts.extend([stem.to_owned(), after_slash(stem).to_owned()]);
        }
    }
    parts
}

fn after_slash(text: &str) -> &str {
    text.rsplit('/').next().unwrap_or(text)
}

/// Lower case, without the extension, the shard suffix and Ollama's default tag.
fn normal(name: &str) -> String {
    let lower = name.to_lowercase();
    let stem = match split_extension(&lower) {
        (stem, extension) if matches!(&*extension, "gguf" | "bin" | "safetensors") => stem,
        _ => &lower,
    };
    let stem = parse_shard(stem).map_or(stem, |shard| shard.stem);
    stem.strip_suffix(":latest").unwrap_or(stem).to_owned()
}

/// Installed names that contain what was typed or differ from it by a few letters.
pub(crate) fn suggestions(models: &[LocalModel], name: &str) -> Vec<String> {
    let wanted: String = normal(after_slash(name)).chars().take(64).collect();
    let mut scored: Vec<(usize, &String)> = models
        .iter()
        .filter_map(|model| {
            let own = normal(&model.name);
            let mut candidates = parts(&own);
            candidates.push(own);
            let distance = |part: &String| {
                if part.contains(&wanted) { 0 } else { edit_distance(part, &wanted) }
            };
            let best = candidates.iter().map(distance).min()?;
            (best <= 2 * wanted.chars().count() / 5).then_some((best, &model.name))
        })
        .collect();
    scored.sort();
    scored.dedup_by(|a, b| a.1 == b.1);
    scored.into_iter().take(5).map(|(_, name)| name.clone()).collect()
}

/// Levenshtein's distance in characters; the first 64 of each.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(edit_distance("qwen3", "qwen3"), 0);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
    }

    #[test]
    fn normal_form() {
        assert_eq!(normal("Org/Repo:M-Q8_0-00001-of-00002.GGUF"), "org/repo:m-q8_0");
        assert_eq!(normal("llama3.2:latest"), "llama3.2");
    }
}
