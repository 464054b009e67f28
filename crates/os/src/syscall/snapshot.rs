//! Keeps the application's files as they are, to go back to.

use super::files::{folder, look, said};
use super::{Must, Syscall, done, object, text, text_of, wrong};
use crate::event::Event;

use lucid_tools::FolderError;

/// Bytes of a name.
const NAME_BYTES_MAX: usize = 200;

pub(super) const CALL: Syscall = Syscall {
    name: "snapshot",
    description: "keeps the application's files as they are; `rollback` goes back to them",
    parameters: || object(&[("name", Must, text())]),
    run: |kernel, pid, arguments| {
        let name = text_of(arguments, "name")?.to_owned();
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return wrong(format!("name: 1 to {NAME_BYTES_MAX} bytes are expected"));
        }
        let application = kernel.process(pid)?.application.clone();
        let folder = folder(kernel, &application);
        let paths = folder.list(usize::MAX).map_err(|error| said(&error))?;
        for path in &paths {
            // What a person put there is taken note of.
            let (_, file, new) = look(kernel, pid, path)?;
            if new {
                let (application, path) = (application.clone(), path.clone());
                kernel.emit(Event::FileWritten { application, path, file: Some(file) })?;
            }
        }
        let known = kernel.state().files.get(&application).cloned().unwrap_or_default();
        let gone = |path: &&String| {
            !paths.contains(path) && matches!(folder.read(path), Err(FolderError::NotFound { .. }))
        };
        for path in known.keys().filter(gone) {
            let (application, path) = (application.clone(), path.clone());
            kernel.emit(Event::FileWritten { application, path, file: None })?;
        }
        kernel.emit(Event::FilesKept { application, name: name.clone() })?;
        done(format!("{} files are kept as `{name}`", paths.len()))
    },
};
