//! `[workspace.dependencies]`: each crate of others stands there once, with its reason, and
//! somebody uses it.

use super::Finding;
use super::metadata::Member;

const MANIFEST: &str = "Cargo.toml";
const SECTION: &str = "[workspace.dependencies]";

pub(crate) fn check(manifest: &str, members: &[Member]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut inside = false;
    let mut above = "";
    for (index, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            inside = line.trim() == SECTION;
        } else if inside && let Some(name) = entry(line) {
            let own = line.contains("path = \"crates/");
            let mut find = |what: String| findings.push(Finding::new(MANIFEST, index + 1, what));
            if !own && !has_comment(line) && !has_comment(above) {
                find(format!("{name} has no comment that gives the reason for it"));
            }
            let used = |member: &Member| {
                let mut names = member
                    .dependencies
                    .iter()
                    .map(|dependency| dependency.rename.as_ref().unwrap_or(&dependency.name));
                names.any(|used| used == name)
            };
            if !members.iter().any(used) {
                find(format!("nobody uses {name}"));
            }
        }
        above = if line.starts_with('#') { line } else { "" };
    }
    findings
}

/// The key of `key = value` or `key.x = value`, if the line starts with one.
fn entry(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    let key = key.split('.').next().unwrap_or(key).trim_end();
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    (!key.is_empty() && key.chars().all(fits)).then_some(key)
}

/// Whether a line has a comment with something in it, outside of strings.
fn has_comment(line: &str) -> bool {
    let mut quoted = false;
    for (at, letter) in line.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            '#' if !quoted => return !line[at + 1..].trim().is_empty(),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::metadata::Dependency;
    use super::*;

    fn check_manifest(lines: &str, expected: &[&str]) {
        let dependency = |name: &str, rename: Option<&str>| Dependency {
            name: name.to_owned(),
            rename: rename.map(str::to_owned),
            kind: Some("dev".to_owned()),
        };
        let dependencies = vec![dependency("half", None), dependency("long-name", Some("short"))];
        let member = Member { dependencies, ..Member::default() };
        let text = format!("[workspace]\na = 1\n\n[workspace.dependencies]\n{lines}\n[x]\nb = 1\n");
        let found = check(&text, &[member]);
        let found: Vec<_> = found.iter().map(|one| format!("{}: {}", one.line, one.what)).collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found} is not {expected}");
        }
    }

    #[test]
    fn a_reason_beside_or_above() {
        check_manifest("half = \"2\" # why", &[]);
        check_manifest("# why\nhalf = \"2\"", &[]);
        check_manifest("half.version = \"2\" # why", &[]);
        check_manifest("half = \"2\"", &["5: half has no comment"]);
        check_manifest("half = \"2#1\"", &["5: half has no comment"]);
        check_manifest("half = \"2\" # ", &["5: half has no comment"]);
        check_manifest("# why\n\nhalf = \"2\"", &["7: half has no comment"]);
    }

    #[test]
    fn a_use() {
        check_manifest("clap = \"4\" # why", &["5: nobody uses clap"]);
        check_manifest("short = { package = \"long-name\" } # why", &[]);
        check_manifest("lucid-sys = { path = \"crates/sys\" }", &["5: nobody uses lucid-sys"]);
    }
}
