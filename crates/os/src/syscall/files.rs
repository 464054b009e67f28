//! Files with their labels: what a process wrote comes back with the label it was written with, and
//! what a person put into the folder is the person's word.

use lucid_policy::SourceKind;
use lucid_tools::{Folder, FolderError};

use super::Gone;
use crate::event::{Event, FileRecord};
use crate::ids::{ContentId, Pid};
use crate::kernel::{FILE_BYTES_MAX, Kernel, Said};
use crate::page::PageKind;

/// The folder of an application.
pub(super) fn folder(kernel: &Kernel, application: &str) -> Folder {
    // Names of applications are not paths.
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
    let name: String = application.chars().map(plain).collect();
    Folder::new(&kernel.settings().files.join(name), FILE_BYTES_MAX)
}

pub(super) fn said(error: &FolderError) -> Gone {
    Gone::Wrong(error.to_string())
}

/// A file's text, its record, and whether the record is new.
pub(super) fn look(
    kernel: &mut Kernel,
    pid: Pid,
    path: &str,
) -> Result<(String, FileRecord, bool), Gone> {
    let path = Folder::canonical(path).map_err(|error| said(&error))?;
    let application = kernel.process(pid)?.application.clone();
    let text = folder(kernel, &application).read(&path).map_err(|error| said(&error))?;
    let content = ContentId::of(text.as_bytes());
    let known = kernel.state().files.get(&application).and_then(|files| files.get(&path)).cloned();
    let principal = lucid_policy::Audience::of(&kernel.process(pid)?.principal);
    if known.as_ref().is_some_and(|known| !known.label.readers().admit(&principal)) {
        return Err(Gone::Wrong(format!("`{path}` belongs to somebody else")));
    }
    if let Some(known) = known.as_ref().filter(|known| known.content == content) {
        return Ok((text, known.clone(), false));
    }
    let mut label = kernel.label_of(pid, SourceKind::OwnFile, &format!("file:{path}"));
    // A person changed what a process wrote; what that had read may still stand there.
    let source_kind = match known {
        None => Some(SourceKind::OwnFile),
        Some(known) => {
            label.extend(&known.label);
            known.source_kind
        }
    };
    kernel.put(text.as_bytes());
    Ok((text, FileRecord { content, label, source_kind }, true))
}

/// A file as the answer to a call.
pub(super) fn file_said(kernel: &mut Kernel, pid: Pid, path: &str) -> Result<Said, Gone> {
    let (text, file, _) = look(kernel, pid, path)?;
    let path = Folder::canonical(path).map_err(|error| said(&error))?;
    Ok(Said {
        text,
        kind: PageKind::File,
        source: format!("file:{path}"),
        // What a process wrote is not a person's word, though it may have a person's label.
        source_kind: file.source_kind,
        label: file.label,
        ..Said::system("")
    })
}

/// Writes a file: what is there now, and what will be, is in the log before the disk changes. So
/// nothing is lost that the log never saw, and no file is there whose writer nobody knows.
pub(super) fn replace(
    kernel: &mut Kernel,
    pid: Pid,
    path: &str,
    text: &str,
    file: FileRecord,
) -> Result<(), Gone> {
    keep(kernel, pid, path)?;
    let application = kernel.process(pid)?.application.clone();
    let folder = folder(kernel, &application);
    kernel.emit(Event::FileWritten { application, path: path.to_owned(), file: Some(file) })?;
    kernel.sync()?;
    folder.write(path, text).map_err(|error| said(&error))
}

/// Takes note of a file as it is; one that is not there needs none. One that is no text cannot be
/// brought back, so it is nobody's to replace.
pub(super) fn keep(kernel: &mut Kernel, pid: Pid, path: &str) -> Result<(), Gone> {
    let application = kernel.process(pid)?.application.clone();
    match folder(kernel, &application).read(path) {
        Err(FolderError::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(said(&error)),
        Ok(_) => {}
    }
    let (_, file, new) = look(kernel, pid, path)?;
    if new {
        let path = path.to_owned();
        kernel.emit(Event::FileWritten { application, path, file: Some(file) })?;
    }
    Ok(())
}
