//! Writes a file of the application. What is written has the label of whoever wrote it.

use super::files::{replace, said};
use super::{
    May, Must, Syscall, done, note, number, object, optional_number, text, text_of, wrong,
};
use crate::event::FileRecord;
use crate::ids::PageId;

use lucid_tools::Folder;

pub(super) const CALL: Syscall = Syscall {
    name: "write",
    description: "writes a text, or what is held, into a file of the application",
    parameters: || {
        object(&[("path", Must, text()), ("text", May, text()), ("held", May, number())])
    },
    run: |kernel, pid, arguments| {
        let path = text_of(arguments, "path")?;
        let path = Folder::canonical(path).map_err(|error| said(&error))?;
        let process = kernel.process(pid)?;
        let mut label = process.label.clone();
        let text = match optional_number(arguments, "held")?.map(PageId) {
            None => text_of(arguments, "text")?.to_owned(),
            Some(id) => {
                let Some(page) = process.window.held.get(&id) else {
                    return wrong(format!("nothing is held under {id}"));
                };
                label.extend(&page.label);
                kernel.page_text(page.content)?
            }
        };
        if path.starts_with(note::FOLDER) {
            return wrong("notes are written by `note`");
        }
        let content = kernel.put(text.as_bytes());
        let bytes = text.len();
        // Writing it again gives the same file, so nothing is lost if the log ends in between.
        let file = FileRecord { content, label, source_kind: None };
        replace(kernel, pid, &path, &text, file)?;
        done(format!("{bytes} bytes are in {path}"))
    },
};
