//! What a file is, by its first bytes; its name decides only between kinds of text.

use std::path::Path;

use super::Refusal;

/// What a file seems to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sniffed {
    Text,
    Markdown,
    Jsonl,
    Html,
    Warc,
    Parquet,
    Refused(Refusal, String),
}

/// Formats whose first kilobytes can look like text.
const BINARY: [(&[u8], &str); 5] = [
    (b"%PDF-", "PDF"),
    (b"PK\x03\x04", "a zip archive"),
    (b"GGUF", "weights"),
    (b"BZh", "bzip2; gz, zst and xz are unpacked here"),
    (b"{\\rtf", "RTF"),
];

/// `head` are the first bytes, unpacked.
pub(super) fn sniff(head: &[u8], path: &Path) -> Sniffed {
    if head.is_empty() {
        return Sniffed::Refused(Refusal::Empty, "0 bytes".to_owned());
    }
    if head.starts_with(b"PAR1") {
        return Sniffed::Parquet;
    }
    if head.starts_with(b"WARC/") {
        return Sniffed::Warc;
    }
    for (magic, what) in BINARY {
        if head.starts_with(magic) {
            return Sniffed::Refused(Refusal::Binary, what.to_owned());
        }
    }
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        let what = "it begins with the mark of UTF-16; save it as UTF-8".to_owned();
        return Sniffed::Refused(Refusal::OtherEncoding, what);
    }
    if let Some(what) = binary(head) {
        return Sniffed::Refused(Refusal::Binary, what);
    }
    text(head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head), path)
}

/// Why bytes are no text, if they are not: a zero, or one control character in twenty.
fn binary(head: &[u8]) -> Option<String> {
    if let Some(at) = head.iter().position(|&byte| byte == 0) {
        return Some(format!("a zero byte at {at}"));
    }
    let controls = head.iter().filter(|byte| matches!(byte, 1..=7 | 14..=26 | 28..=31 | 127));
    let controls = controls.count();
    (controls * 20 > head.len())
        .then(|| format!("{controls} of the first {} bytes are control characters", head.len()))
}

fn text(head: &[u8], path: &Path) -> Sniffed {
    let mut name = path.to_path_buf();
    if extension(&name).is_some_and(|end| matches!(&*end, "gz" | "zst" | "xz")) {
        name.set_extension("");
    }
    let extension = extension(&name);
    let start = head.trim_ascii_start();
    match extension.as_deref() {
        Some("jsonl" | "ndjson") => return Sniffed::Jsonl,
        Some("html" | "htm" | "xhtml") => return Sniffed::Html,
        Some("md" | "markdown") => return Sniffed::Markdown,
        Some("json") if !is_object_line(start) => {
            let what = "a value a line is needed (JSONL)".to_owned();
            return Sniffed::Refused(Refusal::NotJsonLines, what);
        }
        _ => {}
    }
    if is_object_line(start) {
        return Sniffed::Jsonl;
    }
    let begins = |tag: &str| {
        start.get(..tag.len()).is_some_and(|found| found.eq_ignore_ascii_case(tag.as_bytes()))
    };
    if begins("<!doctype html") || begins("<html") {
        return Sniffed::Html;
    }
    Sniffed::Text
}

/// Whether the first line is a JSON object, as far as can be seen.
fn is_object_line(start: &[u8]) -> bool {
    let line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
    if line.len() == start.len() {
        // It may go on behind what is looked at.
        return line.starts_with(b"{\"") || line.starts_with(b"{ \"");
    }
    line.starts_with(b"{") && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

fn extension(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_ascii_lowercase())
}
