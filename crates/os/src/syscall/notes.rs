//! Finds notes of earlier runs.

use super::files::{folder, look, said};
use super::note::FOLDER;
use super::{May, Syscall, done, flag, flag_of, holds, object, optional_text, text};
use crate::kernel::Said;
use crate::page::PageKind;
use crate::paging::Relevance;

/// Notes that are shown.
const COUNT_MAX: usize = 10;
/// Notes that are looked at.
const FILES_MAX: usize = 10_000;

pub(super) const CALL: Syscall = Syscall {
    name: "notes",
    description: "shows the notes that have to do with a query, or the latest ones",
    parameters: || object(&[("query", May, text()), ("hold", May, flag())]),
    run: |kernel, pid, arguments| {
        let query = optional_text(arguments, "query")?.unwrap_or_default().to_owned();
        let application = kernel.process(pid)?.application.clone();
        let paths = folder(kernel, &application).list(FILES_MAX).map_err(|error| said(&error))?;
        let mut found = Vec::new();
        for path in paths.iter().filter(|path| path.starts_with(FOLDER)) {
            let (text, file, _) = look(kernel, pid, path)?;
            let number: u64 =
                path[FOLDER.len()..].trim_end_matches(".txt").parse().unwrap_or_default();
            found.push((number, path.clone(), text, file));
        }
        let relevance =
            Relevance::new([query.as_str()], found.iter().map(|(_, _, text, _)| text.as_str()));
        let mut scored: Vec<_> = found.iter().map(|note| (relevance.of(&note.2), note)).collect();
        if !query.is_empty() {
            scored.retain(|(score, _)| *score > 0.0);
        }
        scored.sort_by(|(a, note_a), (b, note_b)| b.total_cmp(a).then(note_b.0.cmp(&note_a.0)));
        scored.truncate(COUNT_MAX);
        if scored.is_empty() {
            return done("there is none");
        }
        let mut all = Said { kind: PageKind::File, source: "notes".to_owned(), ..Said::system("") };
        // One that a process wrote is nobody's word.
        let kinds: Vec<_> = scored.iter().map(|(_, note)| note.3.source_kind).collect();
        all.source_kind = kinds[0].filter(|kind| kinds.iter().all(|other| *other == Some(*kind)));
        let mut lines = Vec::new();
        for (_, (_, path, text, file)) in scored {
            all.label.extend(&file.label);
            lines.push(format!("{path}: {text}"));
        }
        all.text = lines.join("\n");
        all.hold = holds(kernel, pid, &all.label, flag_of(arguments, "hold")?)?;
        Ok(all.into())
    },
};
