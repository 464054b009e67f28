//! Keeps a note for later runs. It comes back with the label of whoever wrote it.

use super::files::{folder, said};
use super::{Must, Syscall, done, object, text, text_of, wrong};
use crate::event::{Event, FileRecord};

/// Where notes lie.
pub(super) const FOLDER: &str = "notes/";

pub(super) const CALL: Syscall = Syscall {
    name: "note",
    description: "keeps a note, also for later runs; `notes` finds it",
    parameters: || object(&[("text", Must, text())]),
    run: |kernel, pid, arguments| {
        let text = text_of(arguments, "text")?.trim().to_owned();
        if text.is_empty() {
            return wrong("text: it is empty");
        }
        let process = kernel.process(pid)?;
        let (application, label) = (process.application.clone(), process.label.clone());
        let files = kernel.state().files.get(&application);
        let number = |path: &String| path.strip_prefix(FOLDER)?.strip_suffix(".txt")?.parse().ok();
        let last: u64 =
            files.into_iter().flatten().filter_map(|(path, _)| number(path)).max().unwrap_or(0);
        // The same number if it is done again after a crash, so a note is never there twice.
        let path = format!("{FOLDER}{}.txt", last + 1);
        folder(kernel, &application).write(&path, &text).map_err(|error| said(&error))?;
        let file = FileRecord { content: kernel.put(text.as_bytes()), label, source_kind: None };
        kernel.emit(Event::FileWritten { application, path: path.clone(), file: Some(file) })?;
        done(format!("it is in {path}"))
    },
};
