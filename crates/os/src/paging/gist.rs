//! What stands in the place of a page that is out: its number and a line of it. Made mechanically.

use crate::ids::PageId;
use crate::page::Page;

/// Characters of a gist.
const GIST_CHARS: usize = 72;
/// Begins a stub.
const OPEN: char = '\u{27e8}';
/// Ends it.
const CLOSE: char = '\u{27e9}';
/// How a page is named wherever it is named.
const NAME: &str = "page#";

/// The beginning of a text in one line: what its first line that says something begins with.
pub fn gist(text: &str) -> String {
    let says = |line: &&str| line.chars().any(char::is_alphanumeric);
    let line = text.lines().find(says).unwrap_or_default().trim();
    // Nothing in it may look like the end of the stub, or like another one.
    let plain = |c: char| if c.is_control() || matches!(c, OPEN | CLOSE) { ' ' } else { c };
    let mut gist: String = line.chars().take(GIST_CHARS).map(plain).collect();
    if line.chars().nth(GIST_CHARS).is_some() {
        gist.push('\u{2026}');
    }
    gist
}

/// What stands in a page's place.
pub fn stub(page: &Page, gist: &str) -> String {
    // A copy is found by the page that it shows.
    let id = page.copy_of.unwrap_or(page.id);
    let Page { source, tokens, .. } = page;
    format!("{OPEN}{NAME}{id}, {source}, {tokens} tokens: {gist}{CLOSE}")
}

/// What stands in the place of pages that follow each other and are all out, when even their stubs
/// are too many.
pub fn range_stub(first: PageId, last: PageId, pages: usize, tokens: u64) -> String {
    format!(
        "{OPEN}{NAME}{first} to {last}, {pages} pages, {tokens} tokens: search finds what they \
         say{CLOSE}"
    )
}

/// The pages that a text names.
pub fn mentioned(text: &str) -> Vec<PageId> {
    let mut pages = Vec::new();
    for (at, _) in text.match_indices(NAME) {
        let digits = &text[at + NAME.len()..];
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        if let Ok(number) = digits[..end].parse()
            && !pages.contains(&PageId(number))
        {
            pages.push(PageId(number));
        }
    }
    pages
}
