//! Keeps a note for later runs. It comes back with the label of whoever wrote it.

use super::files::{folder, replace, said};
use super::{Must, Syscall, done, object, text, text_of, wrong};
use crate::event::FileRecord;

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
        let present =
            folder(kernel, &application).list(usize::MAX).map_err(|error| said(&error))?;
        let files = kernel.state().files.get(&application);
        let known = files.into_iter().flatten().map(|(path, _)| path);
        let number = |path: &String| path.strip_prefix(FOLDER)?.strip_suffix(".txt")?.parse().ok();
        let last: u32 = present.iter().chain(known).filter_map(number).max().unwrap_or(0);
        let Some(next) = last.checked_add(1) else { return wrong("there are too many notes") };
        let path = format!("{FOLDER}{next}.txt");
        let file = FileRecord { content: kernel.put(text.as_bytes()), label, source_kind: None };
        replace(kernel, pid, &path, &text, file)?;
        done(format!("it is in {path}"))
    },
};
