//! Writes markdown's events as HTML: our own tags, everything else escaped.

use pulldown_cmark::{Alignment, CodeBlockKind, CowStr, Event, HeadingLevel, Tag};

/// Addresses that a link may have begin with one of these.
pub(super) const SCHEMES: [&str; 3] = ["http:", "https:", "mailto:"];
/// Deeper elements are left out; what is in them stays.
const DEPTH_MAX: usize = 24;
/// Bytes of HTML for each byte of text, beside `HTML_BYTES_FREE`. Escaping takes 6, a cell of a
/// table some 10; what takes more is made to.
const EXPANSION_MAX: usize = 16;
/// Bytes of HTML that any text may take.
const HTML_BYTES_FREE: usize = 64 << 10;
/// Characters of a language's name.
const LANGUAGE_LEN_MAX: usize = 32;

/// The HTML of the events of a text, or none if it expands beyond measure.
pub(super) fn write(parser: pulldown_cmark::Parser<'_>) -> Option<String> {
    let mut writer = Writer::default();
    for (event, range) in parser.into_offset_iter() {
        writer.event(event);
        let allowed = range.end.saturating_mul(EXPANSION_MAX).saturating_add(HTML_BYTES_FREE);
        if writer.html.len() > allowed {
            return None;
        }
    }
    Some(writer.html)
}

/// Writes a text so that it is nothing but text.
pub(super) fn escape(text: &str, html: &mut String) {
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            // Marks that reverse the direction of what follows would let an address or a line of
            // code look like another.
            '\0' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => html.push('\u{fffd}'),
            _ => html.push(character),
        }
    }
}

#[derive(Default)]
struct Writer {
    html: String,
    /// How each element that is open is closed; empty for one that was left out.
    open: Vec<&'static str>,
    /// Links and pictures that are open: they do not nest.
    anchors: usize,
    /// Alignments of the table's columns.
    columns: Vec<Alignment>,
    /// The column that comes next.
    column: usize,
    /// Whether the row is the table's head.
    head: bool,
}

impl Writer {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(_) => self.end(),
            Event::Code(code) => {
                self.html.push_str("<code>");
                escape(&code, &mut self.html);
                self.html.push_str("</code>");
            }
            Event::InlineHtml(text) if is_break(&text) => self.html.push_str("<br>"),
            Event::Text(text)
            | Event::Html(text)
            | Event::InlineHtml(text)
            | Event::InlineMath(text)
            | Event::DisplayMath(text)
            | Event::FootnoteReference(text) => escape(&text, &mut self.html),
            Event::SoftBreak => self.html.push('\n'),
            Event::HardBreak => self.html.push_str("<br>\n"),
            Event::Rule => self.html.push_str("<hr>\n"),
            Event::TaskListMarker(done) => {
                self.html.push_str(if done { "\u{2611} " } else { "\u{2610} " });
            }
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        if self.open.len() >= DEPTH_MAX {
            self.skip(&tag);
            return;
        }
        match tag {
            Tag::Paragraph => self.element("<p>", "</p>\n"),
            Tag::HtmlBlock => self.element("<p class=\"markup\">", "</p>\n"),
            Tag::Heading { level, .. } => {
                let (before, after) = heading(level);
                self.element(before, after);
            }
            Tag::BlockQuote(_) => self.element("<blockquote>\n", "</blockquote>\n"),
            Tag::CodeBlock(kind) => self.code_block(&kind),
            Tag::List(None) => self.element("<ul>\n", "</ul>\n"),
            Tag::List(Some(1)) => self.element("<ol>\n", "</ol>\n"),
            Tag::List(Some(first)) => {
                self.element(&format!("<ol start=\"{first}\">\n"), "</ol>\n");
            }
            Tag::Item => self.element("<li>", "</li>\n"),
            Tag::Table(columns) => {
                self.columns = columns;
                self.element("<div class=\"wide\"><table>", "</tbody></table></div>\n");
            }
            Tag::TableHead => {
                (self.head, self.column) = (true, 0);
                self.element("<thead><tr>", "</tr></thead><tbody>\n");
            }
            Tag::TableRow => {
                (self.head, self.column) = (false, 0);
                self.element("<tr>", "</tr>\n");
            }
            Tag::TableCell => self.cell(),
            Tag::Emphasis => self.element("<em>", "</em>"),
            Tag::Strong => self.element("<strong>", "</strong>"),
            Tag::Strikethrough => self.element("<del>", "</del>"),
            Tag::Link { dest_url, title, .. } => self.anchor(&dest_url, &title, "outside"),
            Tag::Image { dest_url, title, .. } => {
                self.anchor(&dest_url, &title, "outside picture");
            }
            // Not asked for: footnotes, definitions, metadata and the like.
            _ => self.element("", ""),
        }
    }

    /// Leaves an element out, but keeps its words apart from others.
    fn skip(&mut self, tag: &Tag<'_>) {
        if matches!(tag, Tag::Link { .. } | Tag::Image { .. }) {
            self.anchors += 1;
            self.open.push(ANCHOR_LEFT_OUT);
        } else {
            self.element(" ", "");
        }
    }

    fn element(&mut self, before: &str, after: &'static str) {
        self.html.push_str(before);
        self.open.push(after);
    }

    fn end(&mut self) {
        let after = self.open.pop().unwrap_or_default();
        if after == ANCHOR || after == ANCHOR_LEFT_OUT {
            self.anchors = self.anchors.saturating_sub(1);
        }
        if after != ANCHOR_LEFT_OUT {
            self.html.push_str(after);
        }
    }

    /// A link, or a picture that is not shown.
    fn anchor(&mut self, address: &CowStr<'_>, title: &CowStr<'_>, class: &str) {
        let leads_somewhere = self.anchors == 0 && is_allowed(address);
        self.anchors += 1;
        if !leads_somewhere {
            self.open.push(ANCHOR_LEFT_OUT);
            return;
        }
        self.html.push_str("<a class=\"");
        self.html.push_str(class);
        self.html.push_str("\" href=\"");
        escape(address, &mut self.html);
        if !title.is_empty() {
            self.html.push_str("\" title=\"");
            escape(title, &mut self.html);
        }
        self.html.push_str("\">");
        self.open.push(ANCHOR);
    }

    fn code_block(&mut self, kind: &CodeBlockKind<'_>) {
        let language = match kind {
            CodeBlockKind::Fenced(info) => language(info),
            CodeBlockKind::Indented => String::new(),
        };
        let class = if language.is_empty() { "text" } else { &language };
        let before = format!(
            "<div class=\"code\"><div class=\"code-head\"><span class=\"code-name\">{class}</span>\
             <button type=\"button\" class=\"copy\">Copy</button></div><pre>\
             <code class=\"language-{class}\">"
        );
        self.element(&before, "</code></pre></div>\n");
    }

    fn cell(&mut self) {
        let alignment = self.columns.get(self.column).copied().unwrap_or(Alignment::None);
        self.column += 1;
        let class = match alignment {
            Alignment::None => "",
            Alignment::Left => " class=\"left\"",
            Alignment::Center => " class=\"center\"",
            Alignment::Right => " class=\"right\"",
        };
        let (tag, after) = if self.head { ("th", "</th>") } else { ("td", "</td>") };
        self.element(&format!("<{tag}{class}>"), after);
    }
}

/// How a link is closed.
const ANCHOR: &str = "</a>";
/// How a link that was left out is closed; never written.
const ANCHOR_LEFT_OUT: &str = "no link";

fn heading(level: HeadingLevel) -> (&'static str, &'static str) {
    match level {
        HeadingLevel::H1 => ("<h1>", "</h1>\n"),
        HeadingLevel::H2 => ("<h2>", "</h2>\n"),
        HeadingLevel::H3 => ("<h3>", "</h3>\n"),
        HeadingLevel::H4 => ("<h4>", "</h4>\n"),
        HeadingLevel::H5 => ("<h5>", "</h5>\n"),
        HeadingLevel::H6 => ("<h6>", "</h6>\n"),
    }
}

/// Models write this one element in the cells of tables.
fn is_break(text: &str) -> bool {
    let inner = text.trim().strip_prefix('<').and_then(|text| text.strip_suffix('>'));
    inner.is_some_and(|inner| inner.trim_end_matches('/').trim().eq_ignore_ascii_case("br"))
}

fn is_allowed(address: &str) -> bool {
    // A browser drops control characters and blanks from an address; here they make it foreign.
    !address.chars().any(|character| character.is_control() || character.is_whitespace())
        && SCHEMES.iter().any(|scheme| {
            address.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        })
}

/// The name of a language: the first word after the fence, as far as it looks like one.
fn language(info: &str) -> String {
    let word = info.split([' ', '\t', ',', '{']).next().unwrap_or_default();
    word.chars()
        .filter(|character| character.is_ascii_alphanumeric() || "+#._-".contains(*character))
        .take(LANGUAGE_LEN_MAX)
        .collect::<String>()
        .to_ascii_lowercase()
}
