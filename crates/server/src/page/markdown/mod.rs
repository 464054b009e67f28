//! Markdown of answers as HTML that a browser can be given: nothing in it runs, loads, or leads
//! anywhere without a click.
//!
//! Two walls: the writer escapes whatever is not markdown and writes a few tags of its own; then
//! ammonia parses the result as a browser would and keeps the same few. HTML in an answer is shown
//! as text, pictures are links, math is text. What a text costs is bounded by its length: nesting
//! and expansion have limits, and what goes beyond them is shown as plain text.

mod stream;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use stream::{Streamer, Tail};

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use ammonia::{Builder, UrlRelative};
use pulldown_cmark::{Options, Parser};

/// Longer texts are shown as they are.
const TEXT_BYTES_MAX: usize = 512 << 10;

/// The HTML of a text.
pub(crate) fn render(text: &str) -> String {
    let written = if text.len() > TEXT_BYTES_MAX { None } else { writer::write(parser(text)) };
    match written {
        Some(html) => SIEVE.clean(&html).to_string(),
        None => plain(text),
    }
}

/// A text as it is, in HTML.
pub(crate) fn plain(text: &str) -> String {
    let mut html = String::from("<pre>");
    writer::escape(text, &mut html);
    html.push_str("</pre>\n");
    html
}

fn parser(text: &str) -> Parser<'_> {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    Parser::new_ext(text, options)
}

/// What is let through. Everything that the writer writes, and nothing else.
static SIEVE: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let tags = [
        "p",
        "br",
        "hr",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "blockquote",
        "pre",
        "code",
        "ul",
        "ol",
        "li",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "em",
        "strong",
        "del",
        "a",
        "div",
        "span",
        "button",
    ];
    let attributes: [(&str, &[&str]); 4] = [
        ("a", &["href", "title"]),
        ("ol", &["start"]),
        ("button", &["type"]),
        // The writer has cleaned the name of the language.
        ("code", &["class"]),
    ];
    let classes: [(&str, &[&str]); 7] = [
        ("a", &["outside", "picture"]),
        ("div", &["code", "code-head", "wide"]),
        ("span", &["code-name"]),
        ("button", &["copy"]),
        ("p", &["markup"]),
        ("th", &["left", "center", "right"]),
        ("td", &["left", "center", "right"]),
    ];
    let sets = |table: &[(&'static str, &[&'static str])]| -> HashMap<_, HashSet<_>> {
        table.iter().map(|(tag, names)| (*tag, names.iter().copied().collect())).collect()
    };
    let mut builder = Builder::empty();
    builder
        .tags(HashSet::from(tags))
        .tag_attributes(sets(&attributes))
        .allowed_classes(sets(&classes))
        .url_schemes(HashSet::from(writer::SCHEMES.map(|scheme| scheme.trim_end_matches(':'))))
        .url_relative(UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"))
        .strip_comments(true);
    builder
});
