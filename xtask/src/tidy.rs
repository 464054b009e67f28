//! The checks of `xtask tidy`. Each group is a pure function from texts to findings; this file
//! feeds them.

mod dependencies;
mod layers;
mod lexer;
mod licences;
mod metadata;
pub(crate) mod pages;
mod source;
mod unsafe_wall;

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use lexer::Source;
use metadata::Metadata;

/// The largest file that may be committed.
const FILE_BYTES_MAX: u64 = 25_000_000;

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Relative to the root of the repository.
    file: String,
    line: usize,
    what: String,
}

impl Finding {
    fn new(file: &str, line: usize, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Checks the whole repository.
pub(crate) fn run(root: &Path) -> Result<Vec<Finding>> {
    let metadata = Metadata::read(root)?;
    let mut findings = Vec::new();
    for file in files(root)? {
        let path = root.join(&file);
        // A file that is deleted but not yet committed so.
        let Ok(info) = path.symlink_metadata() else { continue };
        if info.len() > FILE_BYTES_MAX {
            let what = format!("{} bytes; at most {FILE_BYTES_MAX} are committed", info.len());
            findings.push(Finding::new(&file, 1, what));
        }
        if info.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).with_context(|| format!("reading {file}"))?;
            let source = Source::new(&text);
            findings.extend(source::check(&file, &source));
            findings.extend(unsafe_wall::check(&file, &source, metadata.is_crate_root(&file)));
        }
    }
    findings.extend(layers::check(&metadata.members()));
    findings.extend(licences::check(&metadata.packages));
    let page = |name: &str| std::fs::read_to_string(root.join(name)).unwrap_or_default();
    findings.extend(dependencies::check(&page("Cargo.toml"), &metadata.members()));
    let folders: Vec<_> = metadata.members().iter().map(|member| member.folder.clone()).collect();
    findings.extend(pages::check(
        &page("README.md"),
        &page(".ci/run"),
        &page("ARCHITECTURE.md"),
        &folders,
    ));
    findings.sort();
    Ok(findings)
}

/// What is or may be committed: everything that git tracks or would offer to.
fn files(root: &Path) -> Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("git is needed to list the files")?;
    ensure!(output.status.success(), "git: {}", String::from_utf8_lossy(&output.stderr).trim());
    let list = String::from_utf8(output.stdout).context("a file name that is not UTF-8")?;
    let mut files: Vec<_> = list.split('\0').filter(|name| !name.is_empty()).collect();
    files.sort_unstable();
    files.dedup();
    Ok(files.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_file_is_listed_and_the_build_is_not() {
        let files = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
        assert!(files.iter().any(|file| file == "xtask/src/tidy.rs"));
        assert!(!files.iter().any(|file| file.starts_with("target/")));
    }

    #[test]
    fn a_finding_is_one_clickable_line() {
        assert_eq!(Finding::new("a/b.rs", 3, "is wrong").to_string(), "a/b.rs:3: is wrong");
    }
}
