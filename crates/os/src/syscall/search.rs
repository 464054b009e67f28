//! Finds lines in the pages of the process, also in those that are out.

use super::{May, Must, Syscall, number, object, optional_number, text, text_of, wrong};
use crate::kernel::Said;
use crate::page::{PageKind, Speaker};
use crate::paging::Relevance;

/// Lines that are given where nothing else is said.
const COUNT: u64 = 5;
/// Lines that are given at most.
const COUNT_MAX: u64 = 50;
/// Characters of a line.
const LINE_CHARS: usize = 240;

pub(super) const CALL: Syscall = Syscall {
    name: "search",
    description: "finds lines in this process's pages, those that are out of the window included",
    parameters: || object(&[("query", Must, text()), ("count", May, number())]),
    run: |kernel, pid, arguments| {
        let query = text_of(arguments, "query")?;
        if query.trim().is_empty() {
            return wrong("query: it is empty");
        }
        let count = optional_number(arguments, "count")?.unwrap_or(COUNT).clamp(1, COUNT_MAX);
        let mut texts = Vec::new();
        for slot in kernel.process(pid)?.window.slots() {
            let page = &slot.page;
            // What the process said itself, and what it was shown of other pages, is no find.
            let own = matches!(page.speaker, Speaker::Process { .. });
            if !own && page.kind != PageKind::Summary && page.copy_of.is_none() {
                texts.push((page.clone(), kernel.page_text(page.content)?));
            }
        }
        let lines = texts.iter().flat_map(|(page, text)| text.lines().map(move |it| (page, it)));
        let lines: Vec<_> = lines.filter(|(_, line)| !line.trim().is_empty()).collect();
        let relevance = Relevance::new([query], lines.iter().map(|(_, line)| *line));
        let score = |line: &str| {
            let exact = if line.contains(query) { 1.0 } else { 0.0 };
            exact + relevance.of(line)
        };
        let mut found: Vec<_> = lines
            .into_iter()
            .map(|(page, line)| (score(line), page, line))
            .filter(|(score, ..)| *score > 0.0)
            .collect();
        // Of equals the earlier one; sorting keeps the order.
        found.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
        found.truncate(count as usize);
        if found.is_empty() {
            return super::done("nothing was found");
        }
        let mut said =
            Said { kind: PageKind::Summary, source: "search".to_owned(), ..Said::system("") };
        // What is shown here was read before, and speaks for nothing where it stands now.
        said.source_kind = None;
        let mut shown = Vec::new();
        for (_, page, line) in found {
            said.label.extend(&page.label);
            let line: String = line.chars().take(LINE_CHARS).collect();
            shown.push(format!("page#{}: {line}", page.id));
        }
        said.text = shown.join("\n");
        Ok(said.into())
    },
};
