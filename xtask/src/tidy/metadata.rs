//! What `cargo metadata` says about this workspace and everything that it depends on.
//! Source: The Cargo Book, "cargo metadata", format version 1.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::unsafe_wall::Role;

#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    workspace_members: Vec<String>,
    workspace_root: PathBuf,
}

#[derive(Clone, Deserialize)]
pub(crate) struct Package {
    id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
    targets: Vec<Target>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// The name in the manifest, where it differs.
    pub(crate) rename: Option<String>,
    /// `None` for `[dependencies]`, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

#[derive(Clone, Deserialize)]
struct Target {
    kind: Vec<String>,
    src_path: PathBuf,
}

/// A package of this workspace.
#[derive(Clone, Default)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Relative to the root, such as `crates/sys`.
    pub(crate) folder: String,
    pub(crate) dependencies: Vec<Dependency>,
}

impl Metadata {
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--all-features"])
            .current_dir(root)
            .output()
            .context("running cargo metadata")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cargo metadata: {}", errors.trim());
        serde_json::from_slice(&output.stdout).context("reading what cargo metadata printed")
    }

    pub(crate) fn members(&self) -> Vec<Member> {
        let ours = self.packages.iter().filter(|one| self.workspace_members.contains(&one.id));
        let member = |package: &Package| Member {
            name: package.name.clone(),
            folder: self.relative(package.manifest_path.parent().unwrap_or(Path::new(""))),
            dependencies: package.dependencies.clone(),
        };
        ours.map(member).collect()
    }

    /// Whether `file` is the root of a library or program of this workspace.
    pub(crate) fn is_crate_root(&self, file: &str) -> Role {
        let root = |target: &Target| {
            let kind =
                target.kind.iter().any(|kind| matches!(&**kind, "lib" | "bin" | "proc-macro"));
            kind && self.relative(&target.src_path) == file
        };
        let ours = self.packages.iter().filter(|one| self.workspace_members.contains(&one.id));
        let found = ours.flat_map(|package| &package.targets).any(root);
        if found { Role::CrateRoot } else { Role::Module }
    }

    fn relative(&self, path: &Path) -> String {
        let path = path.strip_prefix(&self.workspace_root).unwrap_or(path);
        path.to_string_lossy().replace('\\', "/")
    }
}
