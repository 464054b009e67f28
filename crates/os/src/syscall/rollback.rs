//! Brings the application's files back to what they were.

use super::files::{folder, keep, said};
use super::{Gone, Must, Syscall, done, object, text, text_of, wrong};
use crate::event::Event;

pub(super) const CALL: Syscall = Syscall {
    name: "rollback",
    description: "brings the application's files back to a snapshot",
    parameters: || object(&[("name", Must, text())]),
    run: |kernel, pid, arguments| {
        let name = text_of(arguments, "name")?;
        let application = kernel.process(pid)?.application.clone();
        let kept = kernel.state().kept_files.get(&application).and_then(|kept| kept.get(name));
        let Some(kept) = kept.cloned() else {
            return wrong(format!("there is no snapshot `{name}`"));
        };
        let folder = folder(kernel, &application);
        let present = folder.list(usize::MAX).map_err(|error| said(&error))?;
        // What is there now is in the log before anything goes; what is no text stays.
        let mut stays = Vec::new();
        for path in &present {
            if let Err(Gone::System(error)) = keep(kernel, pid, path) {
                return Err(Gone::System(error));
            }
            if folder.read(path).is_err() {
                stays.push(path);
            }
        }
        kernel.sync()?;
        let goes = |path: &&String| !kept.contains_key(*path) && !stays.contains(path);
        for path in present.iter().filter(goes) {
            folder.remove(path).map_err(|error| said(&error))?;
            let (application, path) = (application.clone(), path.clone());
            kernel.emit(Event::FileWritten { application, path, file: None })?;
        }
        for (path, file) in &kept {
            let text = kernel.page_text(file.content)?;
            folder.write(path, &text).map_err(|error| said(&error))?;
            let (application, path, file) = (application.clone(), path.clone(), file.clone());
            kernel.emit(Event::FileWritten { application, path, file: Some(file) })?;
        }
        done(format!("{} files are as they were", kept.len()))
    },
};
