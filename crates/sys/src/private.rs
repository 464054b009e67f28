//! Files and folders that nobody but their owner may open, where the system knows owners.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::Path;

/// Creates a file for reading and writing that only its owner may open.
///
/// # Errors
/// Something of this name exists already, or the system refuses.
pub fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Creates a folder that only its owner may look into, and those above it. One that exists stays as
/// it is.
///
/// # Errors
/// Something else of this name exists, or the system refuses.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    #[cfg_attr(miri, ignore = "Miri knows no folders")]
    fn nobody_else_may_open_them() {
        use std::os::unix::fs::PermissionsExt as _;
        let name = format!("lucid-sys-private-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let (inner, file) = (folder.join("inner"), folder.join("inner/file"));
        create_private_folder(&inner).unwrap();
        create_private_folder(&inner).unwrap();
        create_private(&file).unwrap();
        let kind = create_private(&file).unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::AlreadyExists);
        for (path, expected) in [(&folder, 0o700), (&inner, 0o700), (&file, 0o600)] {
            let mode = path.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, expected, "{}", path.display());
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
