//! Ollama's models: `manifests/REGISTRY/NAMESPACE/NAME/TAG` is a small JSON file whose layer of
//! type `application/vnd.ollama.image.model` names a GGUF in `blobs/sha256-HEX`.
//! Source: the OCI image manifest, and the folder as Ollama 0.1 to 0.13 leave it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{LocalModel, Source};
use crate::names::printable;
use crate::walk::{FoundFile, Walk, read_small};

const MANIFEST_BYTES_MAX: u64 = 1 << 20;
const WEIGHTS: &str = "application/vnd.ollama.image.model";

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    #[serde(default, rename = "mediaType")]
    media_type: String,
    #[serde(default)]
    digest: String,
    size: Option<u64>,
}

pub(super) fn models(root: &Path) -> Vec<LocalModel> {
    let blobs = root.join("blobs");
    let manifests = Walk::new().files(&root.join("manifests"), 6);
    manifests.iter().filter_map(|manifest| model(manifest, &blobs)).collect()
}

fn model(manifest: &FoundFile, blobs: &Path) -> Option<LocalModel> {
    let name = display_name(&manifest.name)?;
    let text = read_small(&manifest.path, MANIFEST_BYTES_MAX)?;
    let parsed: Manifest = serde_json::from_str(&text).ok()?;
    let layer = parsed.layers.iter().find(|layer| layer.media_type == WEIGHTS)?;
    let (path, bytes) = blob(blobs, &layer.digest)?;
    if bytes == 0 || layer.size.is_some_and(|size| size != bytes) {
        return None; // still being fetched
    }
    Some(LocalModel {
        name: printable(&name),
        files: vec![path.clone()],
        path,
        source: Source::Ollama,
        bytes,
        modified: manifest.modified,
    })
}

/// The blob of a digest. Only `sha256:` and 64 hex digits reach the path.
fn blob(blobs: &Path, digest: &str) -> Option<(PathBuf, u64)> {
    let hex = digest.strip_prefix("sha256:").or_else(|| digest.strip_prefix("sha256-"))?;
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let path = blobs.join(format!("sha256-{hex}"));
    let metadata = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    Some((path, metadata.len()))
}

/// `registry.ollama.ai/library/llama3.2/1b` is shown as Ollama shows it: `llama3.2:1b`.
fn display_name(manifest: &str) -> Option<String> {
    let (path, tag) = manifest.rsplit_once('/')?;
    let path = path.strip_prefix("registry.ollama.ai/").unwrap_or(path);
    let path = path.strip_prefix("library/").unwrap_or(path);
    Some(format!("{path}:{tag}"))
}
