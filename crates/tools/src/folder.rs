//! The files of one application: texts below one folder, and nothing beside them.
//!
//! Invariant: no path leads out. A path is relative, has no `..`, and no part of it is a link.
//! (Whoever may write into the folder from outside can change it between the look and the use; the
//! folder is its owner's alone, so that is the owner.)

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Bytes of a path.
pub const PATH_BYTES_MAX: usize = 512;

/// A folder with texts in it.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
    file_bytes_max: u64,
}

/// A file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The path leads elsewhere, or is none.
    #[error("`{path}`: {reason}")]
    Path {
        /// As it was given.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is no such file.
    #[error("there is no file `{path}`")]
    NotFound {
        /// Which.
        path: String,
    },
    /// It is larger than is read or written.
    #[error("`{path}` has {bytes} bytes, and at most {bytes_max} are taken")]
    TooLarge {
        /// Which.
        path: String,
        /// Its size.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// It is no text.
    #[error("`{path}` is no text: byte {at} is not UTF-8")]
    NoText {
        /// Which.
        path: String,
        /// Where.
        at: usize,
    },
    /// The system says no.
    #[error("`{path}`: {source}")]
    System {
        /// Which.
        path: String,
        /// What it says.
        source: io::Error,
    },
}

impl Folder {
    /// The files below a folder. It is made when the first file is.
    pub fn new(root: &Path, file_bytes_max: u64) -> Self {
        Self { root: root.to_owned(), file_bytes_max }
    }

    /// The one way to write a path.
    ///
    /// # Errors
    /// It leads elsewhere, or is none.
    pub fn canonical(path: &str) -> Result<String, FolderError> {
        let wrong = |reason| FolderError::Path { path: path.chars().take(80).collect(), reason };
        if path.len() > PATH_BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        if path.starts_with('/') || path.contains('\\') || path.get(1..2) == Some(":") {
            return Err(wrong("a path within the application's folder is expected, as a/b.txt"));
        }
        if path.chars().any(|c| c.is_control() || is_unseen(c)) {
            return Err(wrong("it has characters that cannot be seen"));
        }
        let parts: Vec<&str> =
            path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.is_empty() {
            return Err(wrong("a file's name is expected"));
        }
        if parts.contains(&"..") {
            return Err(wrong("it leads out of the application's folder"));
        }
        if parts.iter().any(|part| is_temporary(part)) {
            return Err(wrong("files of such names are being written"));
        }
        Ok(parts.join("/"))
    }

    /// Where a file lies, if no part of its path is a link or something else than a folder.
    fn place(&self, path: &str) -> Result<PathBuf, FolderError> {
        let canonical = Self::canonical(path)?;
        let mut place = self.root.clone();
        for part in canonical.split('/') {
            place.push(part);
            match place.symlink_metadata() {
                Ok(found) if found.is_symlink() => {
                    let reason = "it leads over a link";
                    return Err(FolderError::Path { path: canonical, reason });
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(FolderError::System { path: canonical, source }),
            }
        }
        Ok(place)
    }

    /// A file's text.
    ///
    /// # Errors
    /// There is none, it is too large, or no text.
    pub fn read(&self, path: &str) -> Result<String, FolderError> {
        let place = self.place(path)?;
        let path = || path.to_owned();
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => FolderError::NotFound { path: path() },
            _ => FolderError::System { path: path(), source },
        };
        let found = place.metadata().map_err(failed)?;
        if !found.is_file() {
            return Err(FolderError::Path { path: path(), reason: "it is no file" });
        }
        self.check_size(&path(), found.len())?;
        let bytes = fs::read(&place).map_err(failed)?;
        self.check_size(&path(), bytes.len() as u64)?;
        String::from_utf8(bytes).map_err(|error| FolderError::NoText {
            path: path(),
            at: error.utf8_error().valid_up_to(),
        })
    }

    /// Writes a file whole, beside the old one first: either that stays or the new one is there.
    ///
    /// # Errors
    /// It is too large, or the system says no; then the old one stays.
    pub fn write(&self, path: &str, text: &str) -> Result<(), FolderError> {
        self.check_size(path, text.len() as u64)?;
        let place = self.place(path)?;
        let failed = |source| FolderError::System { path: path.to_owned(), source };
        if let Some(folder) = place.parent() {
            lucid_sys::create_private_folder(folder).map_err(failed)?;
        }
        lucid_sys::write_atomic(&place, |file| file.write_all(text.as_bytes())).map_err(failed)
    }

    /// Removes a file. One that is not there is removed already.
    ///
    /// # Errors
    /// The system says no.
    pub fn remove(&self, path: &str) -> Result<(), FolderError> {
        match fs::remove_file(self.place(path)?) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(FolderError::System { path: path.to_owned(), source }),
        }
    }

    /// The paths of all files, in order; at most so many.
    ///
    /// # Errors
    /// The system says no.
    pub fn list(&self, count_max: usize) -> Result<Vec<String>, FolderError> {
        let mut found = Vec::new();
        let mut waiting = vec![String::new()];
        while let Some(within) = waiting.pop() {
            let folder = self.root.join(&within);
            let failed = |source| FolderError::System { path: within.clone(), source };
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            for entry in entries {
                let entry = entry.map_err(failed)?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                // What a program that was killed had half written.
                if is_temporary(&name) {
                    continue;
                }
                let path = if within.is_empty() { name } else { format!("{within}/{name}") };
                let kind = entry.file_type().map_err(failed)?;
                if kind.is_dir() {
                    waiting.push(path);
                } else if kind.is_file() && found.len() < count_max {
                    found.push(path);
                }
            }
        }
        found.sort();
        Ok(found)
    }

    fn check_size(&self, path: &str, bytes: u64) -> Result<(), FolderError> {
        let bytes_max = self.file_bytes_max;
        if bytes <= bytes_max {
            return Ok(());
        }
        Err(FolderError::TooLarge { path: path.to_owned(), bytes, bytes_max })
    }
}

/// The names of files that are being written, beside those that they replace.
fn is_temporary(name: &str) -> bool {
    name.strip_prefix(".lucid-").is_some_and(|rest| rest.strip_suffix(".tmp").is_some())
}

/// Characters that make two names look the same, or one look like another.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Home(PathBuf);

    impl Home {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("lucid-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Home {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn paths_have_one_way_to_be_written_and_lead_nowhere_else() {
        let good = [("a.txt", "a.txt"), ("./a//b/c.md", "a/b/c.md"), ("..a/b..", "..a/b..")];
        for (path, want) in good {
            assert_eq!(Folder::canonical(path).unwrap(), want);
        }
        let bad = [
            "",
            "/",
            ".",
            "/etc/passwd",
            "../a",
            "a/../../b",
            "a/..",
            "..",
            "C:/x",
            "a\\b",
            "a\0b",
            "a\nb",
            "a\u{202e}b",
            ".lucid-x.tmp",
        ];
        for path in bad {
            assert!(matches!(Folder::canonical(path), Err(FolderError::Path { .. })), "{path:?}");
        }
        assert!(Folder::canonical(&"a".repeat(PATH_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn what_is_written_can_be_read_listed_and_removed() {
        let home = Home::new("folder");
        let folder = Folder::new(&home.0.join("app"), 100);
        assert_eq!(folder.list(10).unwrap(), [""; 0]);
        folder.write("notes/a.txt", "one").unwrap();
        folder.write("notes/a.txt", "two").unwrap();
        folder.write("b.txt", "").unwrap();
        fs::write(home.0.join("app/.lucid-1-1.tmp"), "half").unwrap();
        assert_eq!(folder.read("./notes/a.txt").unwrap(), "two");
        assert_eq!(folder.list(10).unwrap(), ["b.txt", "notes/a.txt"]);
        assert_eq!(folder.list(1).unwrap().len(), 1);
        folder.remove("b.txt").unwrap();
        folder.remove("b.txt").unwrap();
        assert!(matches!(folder.read("b.txt"), Err(FolderError::NotFound { .. })));
        let large = folder.write("c", &"x".repeat(101));
        assert!(matches!(large, Err(FolderError::TooLarge { bytes: 101, bytes_max: 100, .. })));
        fs::write(home.0.join("app/d"), b"ab\xff").unwrap();
        assert!(matches!(folder.read("d"), Err(FolderError::NoText { at: 2, .. })));
        assert!(matches!(folder.read("notes"), Err(FolderError::Path { .. })));
    }

    #[test]
    #[cfg(unix)]
    fn links_are_not_followed() {
        let home = Home::new("links");
        fs::write(home.0.join("secret"), "a secret").unwrap();
        let root = home.0.join("app");
        fs::create_dir_all(&root).unwrap();
        std::os::unix::fs::symlink(home.0.join("secret"), root.join("a")).unwrap();
        std::os::unix::fs::symlink(&home.0, root.join("up")).unwrap();
        let folder = Folder::new(&root, 100);
        for path in ["a", "up/secret"] {
            assert!(matches!(folder.read(path), Err(FolderError::Path { .. })), "{path}");
            assert!(matches!(folder.write(path, ""), Err(FolderError::Path { .. })), "{path}");
            assert!(matches!(folder.remove(path), Err(FolderError::Path { .. })), "{path}");
        }
        assert_eq!(folder.list(10).unwrap(), [""; 0]);
        assert_eq!(fs::read_to_string(home.0.join("secret")).unwrap(), "a secret");
    }
}
