//! Replacing a file in one step: readers, and maps of the old file, see the old bytes or the new
//! ones, never a mixture.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How much is gathered before the system is called.
const BUFFER_BYTES: usize = 1 << 20;

/// The files that are being written; `None` once no more may be begun.
static UNFINISHED: Mutex<Option<Vec<PathBuf>>> = Mutex::new(Some(Vec::new()));

fn unfinished() -> MutexGuard<'static, Option<Vec<PathBuf>>> {
    // The list is whole between any two statements that change it.
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes every file that a [`write_atomic`] of this process has not finished, for one that ends
/// without unwinding. Writes under way then fail, and none begins.
pub fn abandon_writes() {
    for path in unfinished().take().into_iter().flatten() {
        // Nothing better can be done about a file that cannot be removed.
        let _ = fs::remove_file(path);
    }
}

/// Whether `path` can be replaced by a file: nothing is there, a regular file, or a link to one.
///
/// # Errors
/// A folder, a pipe, a device or a socket is there, the path names no file, or its folder is
/// missing.
pub fn check_target(path: &Path) -> io::Result<()> {
    let refused = |what: &str| Err(io::Error::new(ErrorKind::InvalidInput, what.to_owned()));
    if path.file_name().is_none() {
        return refused("the path names no file");
    }
    match fs::metadata(path) {
        Ok(info) if info.is_dir() => refused("it is a folder; a file is needed"),
        Ok(info) if !info.is_file() => refused("it is a pipe or a device, not a regular file"),
        Ok(_) => Ok(()),
        Err(_) => fs::metadata(folder_of(path)).map(|_| ()),
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Writes a file beside `path`, brings it to the disk, and renames it to `path`. What `write`
/// writes is streamed.
///
/// On an error (or a panic in `write`) the old file is untouched and the new one removed. Where
/// `path` is a symbolic link, the link itself is replaced. An existing file passes its permissions
/// on.
///
/// # Errors
/// What [`check_target`], `write` or the system returned. On Windows the rename fails while the old
/// file is mapped.
pub fn write_atomic(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    check_target(path)?;
    let folder = folder_of(path);
    remove_stale(folder);
    let (file, temporary) = create_beside(folder)?;
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, file);
    let written = write(&mut writer).and_then(|()| writer.flush());
    // Taken apart without writing: after an error nothing more should reach the disk.
    let (file, _) = writer.into_parts();
    written?;
    if let Ok(old) = fs::symlink_metadata(path)
        && old.is_file()
    {
        file.set_permissions(old.permissions())?;
    }
    file.sync_all()?;
    drop(file);
    temporary.rename(path)?;
    sync_folder(folder);
    Ok(())
}

/// A file that is removed when dropped, unless it was renamed.
struct Temporary(Option<PathBuf>);

impl Temporary {
    fn rename(mut self, target: &Path) -> io::Result<()> {
        if let Some(path) = &self.0 {
            fs::rename(path, target)?;
            forget(path);
        }
        self.0 = None;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Nothing better can be done about a file that cannot be removed.
            let _ = fs::remove_file(path);
            forget(path);
        }
    }
}

fn forget(path: &Path) {
    if let Some(paths) = unfinished().as_mut() {
        paths.retain(|unfinished| unfinished != path);
    }
}

/// Creates a new file in `folder`, under a name short enough for any file system.
fn create_beside(folder: &Path) -> io::Result<(File, Temporary)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let process = std::process::id();
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".lucid-{process}-{number}.tmp"));
        let mut unfinished = unfinished();
        let Some(paths) = unfinished.as_mut() else {
            return Err(io::Error::new(ErrorKind::Interrupted, "this program is ending"));
        };
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => {
                paths.push(path.clone());
                return Ok((file, Temporary(Some(path))));
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// A file that was not written to for so long is not being written.
const STALE: Duration = Duration::from_secs(3600);

/// Removes what processes that ended without tidying up left unfinished in `folder`. A process of
/// another container cannot be seen from here, so what was written to lately stays as well.
fn remove_stale(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let Some(process) = name.to_str().and_then(writer_of) else { continue };
        let modified = entry.metadata().and_then(|info| info.modified());
        let age = modified.ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
        if age > STALE && has_ended(process) {
            // Nothing better can be done about a file that cannot be removed.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The process in the name of an unfinished file.
fn writer_of(name: &str) -> Option<u32> {
    let (process, number) = name.strip_prefix(".lucid-")?.strip_suffix(".tmp")?.split_once('-')?;
    number.parse::<u64>().ok()?;
    process.parse().ok()
}

/// Whether a process is known to be gone; not where processes cannot be looked up.
fn has_ended(process: u32) -> bool {
    let folder = Path::new("/proc");
    folder.join("self").exists() && !folder.join(process.to_string()).exists()
}

/// Makes the rename itself durable, where a folder can be synchronised at all.
fn sync_folder(folder: &Path) {
    if cfg!(unix)
        && let Ok(folder) = File::open(folder)
    {
        // Some file systems refuse; the new file is complete either way.
        let _ = folder.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(not(target_os = "linux"), ignore = "processes cannot be looked up")]
    #[cfg_attr(miri, ignore = "Miri knows no folders")]
    fn unfinished_files_of_the_dead_are_removed() {
        let folder = std::env::temp_dir().join(format!("lucid-sys-stale-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        // No process has this number: it is above the largest.
        let (dead, alive) = (u32::MAX, std::process::id());
        let file = |name: String, age: u64| {
            let path = folder.join(name);
            let file = File::create(&path).unwrap();
            file.set_modified(std::time::SystemTime::now() - Duration::from_secs(age)).unwrap();
            path
        };
        let day = 86_400;
        let stale = file(format!(".lucid-{dead}-0.tmp"), day);
        let kept = [
            file(format!(".lucid-{dead}-1.tmp"), 60),
            file(format!(".lucid-{alive}-99.tmp"), day),
            file(format!(".lucid-{dead}-x.tmp"), day),
            file(format!("lucid-{dead}-0.tmp"), day),
        ];
        write_atomic(&folder.join("a"), |writer| writer.write_all(b"new")).unwrap();
        assert!(!stale.exists() && kept.iter().all(|path| path.exists()), "{kept:?}");
        fs::remove_dir_all(&folder).unwrap();
    }

    /// A fresh folder for one test; the files left in it, by name, afterwards.
    fn check(name: &str, old: Option<&str>, outcome: io::Result<&str>) -> Vec<(String, String)> {
        let folder = std::env::temp_dir().join(format!("lucid-sys-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let target = folder.join("a.gguf");
        if let Some(old) = old {
            fs::write(&target, old).unwrap();
        }
        let expected = outcome.as_ref().map(|_| ()).map_err(io::Error::kind);
        let found = write_atomic(&target, |writer| {
            writer.write_all(b"begun")?;
            writer.write_all(outcome?.as_bytes())
        });
        assert_eq!(found.map_err(|error| error.kind()), expected);
        let files = fs::read_dir(&folder).unwrap().map(|entry| {
            let entry = entry.unwrap();
            let text = fs::read_to_string(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), text)
        });
        let files = files.collect();
        fs::remove_dir_all(&folder).unwrap();
        files
    }

    #[test]
    fn a_file_is_made_or_replaced() {
        let expected = vec![("a.gguf".to_owned(), "begun, done".to_owned())];
        assert_eq!(check("new", None, Ok(", done")), expected);
        assert_eq!(check("old", Some("old"), Ok(", done")), expected);
    }

    #[test]
    fn an_error_leaves_the_old_file_and_nothing_else() {
        let full = || io::Error::from(ErrorKind::StorageFull);
        assert_eq!(check("error", None, Err(full())), vec![]);
        let expected = vec![("a.gguf".to_owned(), "old".to_owned())];
        assert_eq!(check("error-old", Some("old"), Err(full())), expected);
    }

    #[test]
    fn a_panic_leaves_nothing() {
        let folder = std::env::temp_dir().join(format!("lucid-sys-panic-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let target = folder.join("a");
        let outcome = std::panic::catch_unwind(|| write_atomic(&target, |_| panic!("on purpose")));
        assert!(outcome.is_err());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_is_not_there_and_a_path_without_a_name_are_errors() {
        let missing = write_atomic(Path::new("/no/such/folder/a"), |_| Ok(()));
        assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
        let nameless = write_atomic(Path::new(".."), |_| Ok(()));
        assert_eq!(nameless.unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn what_is_no_regular_file_is_not_replaced() {
        let folder = std::env::temp_dir().join(format!("lucid-sys-target-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let refused = |path: &Path| {
            let error = write_atomic(path, |_| panic!("nothing is computed")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{}", path.display());
        };
        refused(&folder);
        #[cfg(unix)]
        {
            let socket = folder.join("socket");
            let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
            refused(&socket);
            let link = folder.join("link");
            std::os::unix::fs::symlink(&socket, &link).unwrap();
            refused(&link);
            refused(Path::new("/dev/null"));
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
