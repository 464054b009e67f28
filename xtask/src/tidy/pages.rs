//! Pages that must agree with the rest: the README's test command is the one that `.ci/run` runs,
//! and ARCHITECTURE.md names every crate.

use super::Finding;

const MARKER: &str = "<!-- test-command -->";
/// How `.ci/run` gets the command: from the README, through this program, so that there is no
/// second copy to differ.
const ASKS: &str = "xtask -- test-command";

pub(crate) fn check(
    readme: &str,
    ci: &str,
    architecture: &str,
    folders: &[String],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(why) = test_command(readme) {
        findings.push(Finding::new("README.md", 1, why));
    }
    let asks = |line: &str| !line.trim_start().starts_with('#') && line.contains(ASKS);
    if !ci.lines().any(asks) {
        let what = format!("does not take the test command from the README (`{ASKS}`)");
        findings.push(Finding::new(".ci/run", 1, what));
    }
    for folder in folders {
        let name = folder.rsplit('/').next().unwrap_or(folder);
        let word = |letter: char| letter.is_alphanumeric() || letter == '_';
        if !architecture.split(|letter| !word(letter)).any(|found| found == name) {
            let what = format!("does not name the crate {name}");
            findings.push(Finding::new("ARCHITECTURE.md", 1, what));
        }
    }
    findings
}

/// The one line in the block of shell code that directly follows the marker.
pub(crate) fn test_command(readme: &str) -> Result<String, String> {
    let marked = |line: &&str| line.trim() == MARKER;
    if readme.lines().filter(marked).count() != 1 {
        return Err(format!("README.md needs exactly one line `{MARKER}`"));
    }
    let mut after = readme.lines().skip_while(|line| !marked(line)).skip(1);
    let mut after = after.by_ref().skip_while(|line| line.trim().is_empty());
    let block = "the line after the marker must open a block ```sh with one command";
    if after.next().map(str::trim_end) != Some("```sh") {
        return Err(block.to_owned());
    }
    let commands: Vec<_> = after.by_ref().take_while(|line| line.trim_end() != "```").collect();
    match commands[..] {
        [command] if !command.trim().is_empty() => Ok(command.trim().to_owned()),
        _ => Err(block.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str =
        "# L\n\n<!-- test-command -->\n```sh\ncargo test\n```\nmore\n```sh\nx\n```\n";
    const CI: &str = "a=$(cargo run -p xtask -- test-command)\n";

    fn check_pages(readme: &str, ci: &str, architecture: &str, expected: &[&str]) {
        let folders = ["crates/sys".to_owned(), "xtask".to_owned()];
        let findings = check(readme, ci, architecture, &folders);
        let files: Vec<_> = findings.iter().map(|finding| &*finding.file).collect();
        assert_eq!(files, expected, "{findings:?}");
    }

    #[test]
    fn the_command_stands_behind_the_marker() {
        assert_eq!(test_command(README).as_deref(), Ok("cargo test"));
        assert_eq!(
            test_command(&README.replace("\n```sh\nc", "\n\n```sh\nc")).as_deref(),
            Ok("cargo test")
        );
        for (from, to) in [
            ("<!-- test-command -->", ""),
            ("more", "<!-- test-command -->"),
            ("```sh\ncargo", "text\n```sh\ncargo"),
            ("cargo test", "cargo test\ncargo test"),
            ("cargo test\n", ""),
            ("cargo test", " "),
        ] {
            assert!(test_command(&README.replacen(from, to, 1)).is_err(), "{from} -> {to}");
        }
    }

    #[test]
    fn pages_agree() {
        check_pages(README, CI, "crates: sys (maps), xtask", &[]);
        check_pages("", CI, "sys xtask", &["README.md"]);
        check_pages(README, "cargo test\n# xtask -- test-command\n", "sys xtask", &[".ci/run"]);
        check_pages(README, CI, "the systems, xtask", &["ARCHITECTURE.md"]);
    }
}
