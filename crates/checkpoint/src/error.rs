//! What can be wrong with a weights file. Every message names the file, the part, and the byte
//! where there is one.

use lucid_tensor::{DType, MetadataError};
use std::path::PathBuf;

/// A weights file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be opened or mapped.
    #[error(transparent)]
    Map(#[from] lucid_sys::MapError),
    /// The system refused a read, a listing or a write.
    #[error("{}: {action}", file.display())]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A part of a file is not what its format says it must be.
    #[error("{}: {item} at byte {offset}: expected {expected}, found {found}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// The key, tensor or field.
        item: String,
        /// Where it starts in the file.
        offset: u64,
        /// What the format asks for.
        expected: String,
        /// What the file holds.
        found: String,
    },
    /// A tensor is stored in a format that Lucid does not read.
    #[error(
        "{}: the tensor `{tensor}` at byte {offset} has the type {found}, \
         which Lucid does not read (it reads {})",
        file.display(), known_types()
    )]
    UnknownType {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Where its type is written.
        offset: u64,
        /// The type's number or name.
        found: String,
    },
    /// The file is of a kind that Lucid does not read.
    #[error("{}: {found}; {advice}", file.display())]
    Unsupported {
        /// The file.
        file: PathBuf,
        /// What it seems to be.
        found: String,
        /// What to do instead.
        advice: String,
    },
    /// The network is of a family that Lucid does not know.
    #[error("{}: the architecture `{found}` is not known (known: {known})", file.display())]
    UnknownArchitecture {
        /// The file.
        file: PathBuf,
        /// The name it gives.
        found: String,
        /// The names that are known.
        known: String,
    },
    /// A metadata key, in a file whose metadata has no byte positions or was made by a caller.
    #[error("{}: {source}", file.display())]
    Metadata {
        /// The file.
        file: PathBuf,
        /// The key and what is wrong with it.
        source: MetadataError,
    },
    /// The output, or the source of the data, failed while writing.
    #[error("writing failed")]
    Write(#[from] std::io::Error),
    /// A file to be written was described inconsistently.
    #[error("cannot write the tensor `{tensor}`: expected {expected}, found {found}")]
    Unwritable {
        /// The tensor or key.
        tensor: String,
        /// What the format can hold.
        expected: String,
        /// What was asked for.
        found: String,
    },
}

fn known_types() -> String {
    let names: Vec<&str> = DType::all().map(DType::name).collect();
    names.join(", ")
}
