//! Which weights keys and values were computed with.
//!
//! Two files of the same content are the same weights. The content is hashed once; a record then
//! says what it was while the files are, by length, times and number, in the state in which they
//! were hashed (as the cache of packed weights does it).

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use lucid_sys::{Access, Bytes, FileStamp};
use lucid_tensor::{TensorView, WeightSource};

use super::file::write_beside;

/// What is hashed before its memory is given back.
const PIECE_BYTES: usize = 8 << 20;

/// All tensors of a model.
#[derive(Clone)]
pub(crate) struct Weights {
    tensors: Vec<TensorView>,
}

impl Weights {
    pub(crate) fn of(source: &dyn WeightSource) -> Self {
        let names = source.tensor_names();
        Self { tensors: names.iter().filter_map(|name| source.tensor(name)).collect() }
    }

    /// A hash of the state of the files that the weights lie in; `None` where that does not tell
    /// whether they have changed.
    fn state(&self, key: &[u8; 32]) -> Option<[u8; 32]> {
        let mut hasher = blake3::Hasher::new_keyed(key);
        let mut files: Vec<&Bytes> = Vec::new();
        for tensor in &self.tensors {
            describe(&mut hasher, tensor);
            if !tensor.data.is_mapped() {
                // Made when the file was read: small, and not in any file as it is.
                hasher.update(&tensor.data);
            } else if !files.iter().any(|file| file.same_memory(&tensor.data)) {
                let FileStamp { len, modified, changed, number, device } = tensor.data.stamp()?;
                for part in [len, modified, changed, number, device, tensor.offset] {
                    hasher.update(&part.to_le_bytes());
                }
                files.push(&tensor.data);
            } else {
                hasher.update(&tensor.offset.to_le_bytes());
            }
        }
        Some(*hasher.finalize().as_bytes())
    }

    /// A hash of all weights; `None` if a file changed meanwhile, or `given_up` says so.
    fn content(&self, given_up: &dyn Fn() -> bool) -> Option<[u8; 32]> {
        let changed = || self.tensors.iter().any(|tensor| tensor.data.changed_on_disk());
        if changed() {
            return None;
        }
        let mut hasher = blake3::Hasher::new();
        for tensor in &self.tensors {
            describe(&mut hasher, tensor);
            for start in (0..tensor.data.len()).step_by(PIECE_BYTES) {
                let end = tensor.data.len().min(start + PIECE_BYTES);
                let piece = tensor.data.slice(start..end).filter(|_| !given_up())?;
                hasher.update(&piece);
                // Not held beside what is packed of it.
                piece.advise(Access::Done);
            }
        }
        (!changed()).then(|| *hasher.finalize().as_bytes())
    }
}

fn describe(hasher: &mut blake3::Hasher, tensor: &TensorView) {
    let TensorView { name, dtype, shape, data, .. } = tensor;
    hasher
        .update(format!("{}\0{name}\0{dtype}\0{shape:?}\0{}\0", name.len(), data.len()).as_bytes());
}

/// Where the record of a state of files lies, and what it says.
pub(super) struct Record {
    path: Option<PathBuf>,
    key: [u8; 32],
    /// The hash of the weights, where it is known.
    pub(super) content: Option<[u8; 32]>,
}

impl Record {
    /// Looks for the record of the files as they are now.
    pub(super) fn find(weights: &Weights, folder: &Path, key: &[u8; 32]) -> Self {
        let state = weights.state(key);
        let name = state.map(|state| blake3::Hash::from_bytes(state).to_hex());
        let path = name.map(|name| folder.join(name.as_str()));
        let content = path.as_deref().and_then(|path| read(path, key));
        Self { path, key: *key, content }
    }

    /// Hashes the weights and records what they are. `None` if a file changed meanwhile, or
    /// `given_up` says so.
    pub(super) fn make(&self, weights: &Weights, given_up: &dyn Fn() -> bool) -> Option<[u8; 32]> {
        let content = weights.content(given_up)?;
        // The state that the record is of must be the one that was hashed.
        let now = weights.state(&self.key).map(|state| blake3::Hash::from_bytes(state).to_hex());
        if let (Some(path), Some(now)) = (&self.path, now)
            && path.file_name().is_some_and(|name| name == now.as_str())
        {
            // Without a record the weights are hashed again next time.
            let _ = write(path, &self.key, &content);
        }
        Some(content)
    }
}

fn read(path: &Path, key: &[u8; 32]) -> Option<[u8; 32]> {
    fs::symlink_metadata(path).ok().filter(|info| info.is_file() && info.len() == 64)?;
    let bytes: [u8; 64] = fs::read(path).ok()?.try_into().ok()?;
    let (content, checksum) = bytes.split_at(32);
    let content: [u8; 32] = content.try_into().ok()?;
    (seal(path, key, &content)? == *checksum).then_some(content)
}

fn write(path: &Path, key: &[u8; 32], content: &[u8; 32]) -> std::io::Result<()> {
    let seal = seal(path, key, content).ok_or(std::io::ErrorKind::InvalidInput)?;
    write_beside(path, |file| {
        file.write_all(content)?;
        file.write_all(seal.as_bytes())
    })
}

/// Ties a record to the state that it is called by.
fn seal(path: &Path, key: &[u8; 32], content: &[u8; 32]) -> Option<blake3::Hash> {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(path.file_name()?.as_encoded_bytes()).update(content);
    Some(hasher.finalize())
}
