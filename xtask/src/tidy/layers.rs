//! The layer table: which of our crates may build on which.
//!
//! A crate is added to the table when it is started, with its layer and its arrows as in
//! ARCHITECTURE.md.

use super::Finding;
use super::metadata::Member;

/// One crate of ours.
struct Row {
    folder: &'static str,
    layer: u32,
    /// What `[dependencies]` may name of our own.
    may_use: May,
}

enum May {
    Only(&'static [&'static str]),
    Anything,
}

const fn row(folder: &'static str, layer: u32, may_use: &'static [&'static str]) -> Row {
    Row { folder, layer, may_use: May::Only(may_use) }
}

const TABLE: &[Row] = &[
    row("sys", 0, &[]),
    row("kernels", 0, &[]),
    row("tokenizer", 0, &[]),
    row("hub", 0, &[]),
    row("policy", 0, &[]),
    row("tensor", 1, &["kernels", "sys"]),
    row("checkpoint", 2, &["tensor", "sys"]),
    row("model", 2, &["tensor"]),
    row("tools", 3, &["policy", "sys"]),
    row("engine", 3, &["model", "checkpoint", "tensor", "sys"]),
    row(
        "provider",
        4,
        &["engine", "tokenizer", "checkpoint", "model", "tensor", "kernels", "sys", "hub"],
    ),
    row("train", 6, &["engine", "checkpoint", "model", "tokenizer", "tensor", "kernels", "sys"]),
    row("os", 6, &["provider", "tools", "policy", "sys"]),
    row("server", 7, &["provider", "sys"]),
    Row { folder: "cli", layer: 8, may_use: May::Anything },
];

/// What `synth` needs; in tests anything.
const XTASK_MAY_USE: [&str; 3] = ["checkpoint", "tensor", "sys"];

/// Packages in which `anyhow` may be used: those that talk to a person.
const ANYHOW: [&str; 2] = ["lucid-cli", "xtask"];
const XTASK: &str = "xtask";
const PREFIX: &str = "lucid-";

pub(crate) fn check(members: &[Member]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members {
        let manifest = format!("{}/Cargo.toml", member.folder);
        let mut find = |what: String| findings.push(Finding::new(&manifest, 1, what));
        let row = row_of(&member.name);
        if row.is_none() && member.name != XTASK {
            find(format!("{} is not in the layer table of xtask tidy", member.name));
        }
        if let Some(row) = row
            && member.folder != format!("crates/{}", row.folder)
        {
            find(format!("{} lies in {}, not in its folder", member.name, member.folder));
        }
        for dependency in &member.dependencies {
            let name = &*dependency.name;
            let kind = dependency.kind.as_deref();
            if name == "anyhow" && kind.is_none() && !ANYHOW.contains(&&*member.name) {
                find(
                    "anyhow is for cli and xtask; a library has an error type of its own"
                        .to_owned(),
                );
            }
            let Some(short) = name.strip_prefix(PREFIX) else { continue };
            let allowed = match (row, kind) {
                (Some(row), Some("dev")) => layer(name).is_some_and(|below| below <= row.layer),
                (Some(Row { may_use: May::Anything, .. }), _) => true,
                (Some(Row { may_use: May::Only(list), .. }), _) => list.contains(&short),
                (None, Some("dev")) => member.name == XTASK,
                (None, _) => member.name == XTASK && XTASK_MAY_USE.contains(&short),
            };
            if !allowed {
                let section = kind.unwrap_or("normal");
                find(format!("{} may not have {name} as a {section} dependency", member.name));
            }
        }
    }
    findings.extend(cycles(members));
    findings
}

fn row_of(name: &str) -> Option<&'static Row> {
    let folder = name.strip_prefix(PREFIX)?;
    TABLE.iter().find(|row| row.folder == folder)
}

fn layer(name: &str) -> Option<u32> {
    row_of(name).map(|row| row.layer)
}

/// Cycles among our crates. Cargo allows one that is closed by a dev-dependency; we do not.
fn cycles(members: &[Member]) -> Vec<Finding> {
    let below = |name: &str| {
        let member = members.iter().find(|member| member.name == name);
        member.map_or(&[][..], |member| &member.dependencies)
    };
    let mut findings = Vec::new();
    for member in members {
        let mut seen: Vec<&str> = Vec::new();
        let mut open = vec![&*member.name];
        while let Some(name) = open.pop() {
            for dependency in below(name) {
                if !seen.contains(&&*dependency.name) {
                    seen.push(&dependency.name);
                    open.push(&dependency.name);
                }
            }
        }
        if seen.contains(&&*member.name) {
            let manifest = format!("{}/Cargo.toml", member.folder);
            findings.push(Finding::new(&manifest, 1, format!("{} depends on itself", member.name)));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::metadata::Dependency;
    use super::*;

    /// Members given as `("folder", "dependency dev:dependency ...")`; what is found, by a part of
    /// each message.
    fn check_table(members: &[(&str, &str)], expected: &[&str]) {
        let member = |(folder, dependencies): &(&str, &str)| Member {
            name: if *folder == XTASK { XTASK.to_owned() } else { format!("{PREFIX}{folder}") },
            folder: if *folder == XTASK { XTASK.to_owned() } else { format!("crates/{folder}") },
            dependencies: dependencies.split_whitespace().map(dependency).collect(),
        };
        let members: Vec<_> = members.iter().map(member).collect();
        let findings = check(&members);
        assert_eq!(findings.len(), expected.len(), "{findings:?}");
        for (finding, part) in findings.iter().zip(expected) {
            assert!(finding.what.contains(part), "{finding}");
        }
    }

    fn dependency(text: &str) -> Dependency {
        let (kind, name) = text.split_once(':').map_or((None, text), |(k, n)| (Some(k), n));
        let ours = TABLE.iter().any(|row| row.folder == name);
        let name = if ours { format!("{PREFIX}{name}") } else { name.to_owned() };
        Dependency { name, rename: None, kind: kind.map(str::to_owned) }
    }

    #[test]
    fn the_design_passes() {
        let members = [
            ("sys", "memmap2"),
            ("kernels", "half"),
            ("tokenizer", ""),
            ("hub", "serde"),
            ("tensor", "sys kernels"),
            ("checkpoint", "tensor sys dev:kernels dev:tokenizer"),
            ("model", "tensor dev:checkpoint"),
            ("engine", "model checkpoint tensor sys"),
            ("cli", "engine hub anyhow"),
            ("xtask", "anyhow checkpoint tensor sys dev:engine"),
        ];
        check_table(&members, &[]);
    }

    #[test]
    fn an_arrow_that_is_not_in_the_table() {
        check_table(&[("kernels", "sys")], &["lucid-kernels may not have lucid-sys as a normal"]);
        check_table(&[("model", "build:kernels")], &["lucid-kernels as a build"]);
        check_table(&[("tensor", "dev:engine")], &["lucid-engine as a dev"]);
        check_table(&[("xtask", "hub")], &["xtask may not have lucid-hub"]);
    }

    #[test]
    fn cycles_through_tests() {
        let members = [("model", "dev:checkpoint"), ("checkpoint", "dev:model")];
        check_table(&members, &["lucid-model depends on itself", "lucid-checkpoint depends on"]);
    }

    #[test]
    fn strangers() {
        check_table(&[("attic", "")], &["lucid-attic is not in the layer table"]);
        check_table(&[("sys", "anyhow dev:anyhow")], &["anyhow is for cli"]);
    }
}
