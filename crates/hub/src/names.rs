//! Names: repositories, files inside them, shards of a split file and quantisation labels.
//! A name that passes [`check_file_name`] cannot leave the folder that it is joined to.

use std::fmt;
use std::str::FromStr;

use crate::HubError;

/// `ORG/REPO` on a hub. Both parts are plain: letters, digits, `.`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RepoId {
    organisation: String,
    name: String,
}

impl RepoId {
    /// The part before the slash.
    pub fn organisation(&self) -> &str {
        &self.organisation
    }

    /// The part after the slash.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.organisation, self.name)
    }
}

impl FromStr for RepoId {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let bad = |reason| HubError::BadName { name: printable(text), reason };
        let (organisation, name) = text.split_once('/').ok_or_else(|| bad("no slash"))?;
        for part in [organisation, name] {
            if part.is_empty() || part.len() > 96 {
                return Err(bad("each part has 1 to 96 characters"));
            }
            if !part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
                return Err(bad("letters, digits, '.', '_' and '-' only"));
            }
            if part.starts_with(['.', '-']) || part.contains("..") {
                return Err(bad("a part may not start with '.' or '-' nor contain '..'"));
            }
        }
        Ok(Self { organisation: organisation.to_owned(), name: name.to_owned() })
    }
}

/// What to pull: a repository and, optionally, a file in it or a quantisation label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullSpec {
    /// Where.
    pub repo: RepoId,
    /// A file name (`model-Q4_K_M.gguf`) or a label (`Q4_K_M`).
    pub file: Option<String>,
}

impl FromStr for PullSpec {
    type Err = HubError;

    /// Reads `ORG/REPO[:FILE]`, or the address of a page of the hub as a browser shows it.
    fn from_str(text: &str) -> Result<Self, HubError> {
        let text = text.trim();
        let bare = text.strip_prefix("https://").unwrap_or(text);
        let page = ["huggingface.co/", "hf.co/"].iter().find_map(|host| bare.strip_prefix(host));
        if let Some(page) = page {
            let page = page.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
            for marker in ["/blob/main/", "/resolve/main/"] {
                if let Some((repo, file)) = page.split_once(marker) {
                    return Ok(Self { repo: repo.parse()?, file: Some(file.to_owned()) });
                }
            }
            return Self::split(page.strip_suffix("/tree/main").unwrap_or(page));
        }
        Self::split(text)
    }
}

impl PullSpec {
    fn split(text: &str) -> Result<Self, HubError> {
        match text.split_once(':') {
            Some((_, "")) => {
                Err(HubError::BadName { name: printable(text), reason: "nothing after ':'" })
            }
            Some((repo, file)) => Ok(Self { repo: repo.parse()?, file: Some(file.to_owned()) }),
            None => Ok(Self { repo: text.parse()?, file: None }),
        }
    }
}

impl fmt::Display for PullSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(formatter, "{}:{file}", self.repo),
            None => self.repo.fmt(formatter),
        }
    }
}

/// Text from outside, made safe to show on a terminal and bounded in length.
pub fn printable(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(300)
        .flat_map(|c| {
            // Control characters and the bidirectional overrides, which reorder what is shown.
            let hidden =
                c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            let escaped = hidden.then(|| c.escape_unicode().to_string());
            escaped.unwrap_or_else(|| c.to_string()).chars().collect::<Vec<_>>()
        })
        .collect();
    if text.chars().nth(300).is_some() {
        shown.push('…');
    }
    shown
}

/// Says what would make a hub's file name dangerous to join to a folder, on any platform.
#[cfg_attr(not(feature = "pull"), allow(dead_code, reason = "only a pull meets foreign names"))]
pub(crate) fn check_file_name(name: &str) -> Result<(), &'static str> {
    const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "com", "lpt"];
    if name.is_empty() || name.len() > 1024 || name.split('/').count() > 8 {
        return Err("empty, longer than 1024 bytes or deeper than 8 folders");
    }
    if name.chars().any(|c| c.is_control() || "\\:*?\"<>|".contains(c)) {
        return Err("control characters, backslashes and drive letters are not allowed");
    }
    for part in name.split('/') {
        if part.is_empty() || part.len() > 200 {
            return Err("an empty or overlong part; absolute paths are not allowed");
        }
        if part.starts_with('.') || part.ends_with(['.', ' ']) {
            return Err("a part may not start with '.' nor end with '.' or a space");
        }
        let stem = part.split('.').next().unwrap_or(part).to_ascii_lowercase();
        let device = stem.trim_end_matches(|c: char| c.is_ascii_digit());
        if DEVICES.contains(&device) && stem.len() <= device.len() + 1 {
            return Err("a device name of Windows");
        }
    }
    Ok(())
}

/// One piece of a split file: `STEM-00002-of-00005.EXT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shard<'a> {
    pub(crate) stem: &'a str,
    /// 1-based.
    pub(crate) index: u32,
    pub(crate) count: u32,
}

/// Reads the shard suffix of a name without its extension.
pub(crate) fn parse_shard(stem: &str) -> Option<Shard<'_>> {
    let (head, count) = stem.rsplit_once("-of-")?;
    let (stem, index) = head.rsplit_once('-')?;
    let number = |digits: &str| {
        let sound = digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit());
        sound.then(|| digits.parse::<u32>().ok()).flatten()
    };
    let (index, count) = (number(index)?, number(count)?);
    (1 <= index && index <= count && !stem.is_empty()).then_some(Shard { stem, index, count })
}

/// Splits `NAME.EXT`; the extension in lower case.
pub(crate) fn split_extension(name: &str) -> (&str, String) {
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && !extension.contains('/') => {
            (stem, extension.to_ascii_lowercase())
        }
        _ => (name, String::new()),
    }
}

/// Whether `name` carries the quantisation label as a whole word: `Q4_K` is not in `Q4_K_M`.
pub(crate) fn has_label(name: &str, label: &str) -> bool {
    let (name, label) = (name.to_ascii_lowercase(), label.to_ascii_lowercase());
    let inner = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    !label.is_empty()
        && name.match_indices(&label).any(|(start, found)| {
            !inner(name[..start].chars().next_back())
                && !inner(name[start + found.len()..].chars().next())
        })
}

/// Whether a GGUF is a companion of a model and not a model: a vision projector or a calibration.
pub(crate) fn is_companion(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    file.contains("mmproj") || file.contains("imatrix")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs() {
        let check = |text: &str, expected: Option<(&str, Option<&str>)>| {
            let found = text.parse::<PullSpec>().ok();
            let found = found.map(|spec| (spec.repo.to_string(), spec.file));
            let expected = expected.map(|(repo, file)| (repo.to_owned(), file.map(str::to_owned)));
            assert_eq!(found, expected, "{text}");
        };
        check("org/repo", Some(("org/repo", None)));
        check("org/repo:Q4_K_M", Some(("org/repo", Some("Q4_K_M"))));
        check("org/re.po-1:a/b.gguf", Some(("org/re.po-1", Some("a/b.gguf"))));
        check("https://huggingface.co/org/repo", Some(("org/repo", None)));
        check("hf.co/org/repo:Q8_0", Some(("org/repo", Some("Q8_0"))));
        check(
            "https://huggingface.co/o/r/blob/main/x.gguf?download=true",
            Some(("o/r", Some("x.gguf"))),
        );
        check("https://huggingface.co/o/r/tree/main", Some(("o/r", None)));
        let bad = ["", "org", "org/", "/repo", "a/b/c", "../x", "a/..", "a/b:", "a b/c", "a/é"];
        for bad in bad.into_iter().chain(["a/b\0", "-a/b", "a/.b"]) {
            check(bad, None);
        }
    }

    #[test]
    fn unsafe_file_names() {
        let good = ["model.gguf", "Q4_K_M/model-00001-of-00002.gguf", "a b.txt", "console.json"];
        for good in good {
            assert_eq!(check_file_name(good), Ok(()), "{good}");
        }
        let bad =
            ["", "/etc/passwd", "../../x", "a/../b", "a//b", "a\\b", "C:x", "a\0b", "a/", ".ssh"];
        let long = "x".repeat(201);
        for bad in bad.into_iter().chain([&*long, "nul.txt", "a/COM1", "x.", "x ", "a\u{1b}[2Jb"]) {
            assert!(check_file_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_file_name(&"a/".repeat(20)).is_err());
    }

    #[test]
    fn shards_and_labels() {
        let shard = parse_shard("dir/m-Q8_0-00002-of-00005").unwrap();
        assert_eq!((shard.stem, shard.index, shard.count), ("dir/m-Q8_0", 2, 5));
        for bad in ["m-00000-of-00005", "m-00006-of-00005", "m-2-of-5", "m", "-00001-of-00001"] {
            assert_eq!(parse_shard(bad), None, "{bad}");
        }
        assert!(has_label("Qwen3-0.6B-Q4_K_M.gguf", "q4_k_m"));
        assert!(!has_label("Qwen3-0.6B-Q4_K_M.gguf", "Q4_K"));
        assert!(!has_label("m-IQ4_NL", "Q4_NL"));
        assert!(has_label("UD-Q4_K_XL/m.gguf", "UD-Q4_K_XL"));
        assert!(!has_label("aéb", "é"));
    }

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(printable("a\u{1b}[2J"), "a\\u{1b}[2J");
        assert!(printable(&"x".repeat(5000)).chars().count() == 301);
    }
}
