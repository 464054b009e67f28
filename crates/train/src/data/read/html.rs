//! The main text of a page: its blocks, without menus, lists of links and what else surrounds them.
//!
//! Source: Kohlschütter, Fankhauser and Nejdl, "Boilerplate detection using shallow text features",
//! WSDM 2010, algorithm 2: a block is judged by its words, its share of words in links, and those
//! of its neighbours. Departures: (1) what stands in `nav`, `aside` and so on is left out before;
//! (2) where `main` or `article` hold a good part of the words, only they are looked at; (3) a
//! heading goes with what follows it, and code stays.
//!
//! The scanner is our own and makes no tree: the well-kept ones compare each attribute of a tag
//! with each other one, or nest without bound, and pages are hostile. Its time is linear in the
//! page.

use std::borrow::Cow;

/// The main text: paragraphs with a blank line between, items of a list a line each. Empty where no
/// block seems to be content.
pub fn main_text(html: &str) -> String {
    let mut page = Page::default();
    scan(html, &mut page);
    page.flush();
    let blocks = chosen(page.blocks);
    let content = judge(&blocks);
    let mut text = String::new();
    let mut before = Role::Paragraph;
    for (block, _) in blocks.iter().zip(content).filter(|&(_, content)| content) {
        if !text.is_empty() {
            let close = before == Role::Item && block.role == Role::Item;
            text.push_str(if close { "\n" } else { "\n\n" });
        }
        if block.role == Role::Item {
            text.push_str("- ");
        }
        text.push_str(&block.text);
        before = block.role;
    }
    text
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Paragraph,
    Heading,
    Item,
    Code,
}

#[derive(Debug)]
struct Block {
    text: String,
    role: Role,
    words: usize,
    link_words: usize,
    within_main: bool,
}

impl Block {
    fn link_density(&self) -> f64 {
        self.link_words as f64 / self.words.max(1) as f64
    }
}

/// What was gathered so far.
#[derive(Default)]
struct Page {
    blocks: Vec<Block>,
    text: String,
    link_words: usize,
    role: Option<Role>,
    /// 1 within a link: links do not nest, and one that is never closed ends with the next.
    links: usize,
    /// Open elements of each kind; pages close what they never opened.
    code: usize,
    main: usize,
    /// Open elements that are left out, innermost last.
    left_out: Vec<&'static str>,
}

/// Elements whose content is left out.
const LEFT_OUT: [&str; 17] = [
    "nav", "footer", "aside", "menu", "svg", "math", "select", "button", "dialog", "template",
    "object", "audio", "video", "canvas", "noscript", "map", "datalist",
];
/// Elements in which nothing but their own end is a tag.
const RAW: [&str; 8] =
    ["script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes"];
/// Elements that end a block where they begin or end.
const BREAKING: [&str; 41] = [
    "address",
    "article",
    "blockquote",
    "body",
    "caption",
    "center",
    "dd",
    "details",
    "dir",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "head",
    "header",
    "hgroup",
    "hr",
    "html",
    "li",
    "main",
    "ol",
    "option",
    "p",
    "pre",
    "search",
    "section",
    "summary",
    "table",
    "tbody",
    "thead",
    "tr",
    "ul",
];
/// Open elements that are left out are remembered so deep.
const DEPTH_MAX: usize = 64;

fn scan(html: &str, page: &mut Page) {
    let bytes = html.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let open = memchr::memchr(b'<', &bytes[at..]).map_or(bytes.len(), |found| at + found);
        page.text(&html[at..open]);
        let Some(rest) = html.get(open + 1..) else { break };
        let name_len = |text: &str| text.bytes().take_while(u8::is_ascii_alphanumeric).count();
        match rest.as_bytes().first() {
            Some(b'!') if rest.starts_with("!--") => {
                let end = memchr::memmem::find(&rest.as_bytes()[3..], b"-->");
                at = end.map_or(bytes.len(), |end| open + 1 + 3 + end + 3);
            }
            Some(b'!' | b'?') => {
                at = tag_close(bytes, open + 1);
            }
            Some(b'/') => {
                let name = &rest[1..=name_len(&rest[1..])];
                page.end(&name.to_ascii_lowercase());
                at = tag_close(bytes, open + 1);
            }
            Some(byte) if byte.is_ascii_alphabetic() => {
                let name = rest[..name_len(rest)].to_ascii_lowercase();
                at = tag_end(bytes, open + 1 + name.len());
                if RAW.contains(&&*name) {
                    at = raw_end(bytes, at, &name);
                } else if !bytes[..at].ends_with(b"/>") || !LEFT_OUT.contains(&&*name) {
                    page.start(&name);
                }
            }
            _ => {
                page.text("<");
                at = open + 1;
            }
        }
    }
}

/// The byte after the next `>`.
fn tag_close(bytes: &[u8], from: usize) -> usize {
    memchr::memchr(b'>', &bytes[from..]).map_or(bytes.len(), |len| from + len + 1)
}

/// The byte after the `>` of a tag, past quoted values.
fn tag_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    let mut before = b' ';
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'>' => return at + 1,
            b'"' | b'\'' if before == b'=' => {
                // One that is never closed is not meant.
                at += memchr::memchr(byte, &bytes[at + 1..]).map_or(0, |len| len + 1);
                before = b' ';
            }
            byte if byte.is_ascii_whitespace() => {}
            _ => before = byte,
        }
        at += 1;
    }
    bytes.len()
}

/// Where the end tag of a raw element begins.
fn raw_end(bytes: &[u8], from: usize, name: &str) -> usize {
    let mut at = from;
    while let Some(found) = memchr::memmem::find(&bytes[at..], b"</") {
        at += found;
        let named = bytes.get(at + 2..at + 2 + name.len());
        if named.is_some_and(|named| named.eq_ignore_ascii_case(name.as_bytes())) {
            return at;
        }
        at += 2;
    }
    bytes.len()
}

fn is_breaking(name: &str) -> bool {
    BREAKING.contains(&name)
}

impl Page {
    fn text(&mut self, raw: &str) {
        if raw.is_empty() || !self.left_out.is_empty() {
            return;
        }
        let text = unescape(raw);
        if self.links > 0 {
            self.link_words += words(&text);
        }
        if self.code > 0 {
            self.text.push_str(&text);
            return;
        }
        for (index, word) in text.split(char::is_whitespace).enumerate() {
            let spaced = self.text.is_empty() || self.text.ends_with(char::is_whitespace);
            if index > 0 && !spaced {
                self.text.push(' ');
            }
            self.text.push_str(word);
        }
    }

    fn start(&mut self, name: &str) {
        if matches!(name, "main" | "article" | "h1") {
            // An element that was never closed must not swallow the page.
            self.left_out.clear();
        }
        if let Some(name) = LEFT_OUT.iter().find(|&&left_out| left_out == name) {
            self.flush();
            if self.left_out.len() < DEPTH_MAX {
                self.left_out.push(name);
            }
            return;
        }
        if is_breaking(name) {
            self.flush();
        }
        match name {
            "a" => self.links = 1,
            "pre" => self.code += 1,
            "main" | "article" => self.main += 1,
            "br" if self.left_out.is_empty() && !self.text.is_empty() => self.text.push('\n'),
            "td" | "th" => self.text(" "),
            "li" => self.role = Some(Role::Item),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.role = Some(Role::Heading),
            _ => {}
        }
    }

    fn end(&mut self, name: &str) {
        if let Some(at) = self.left_out.iter().rposition(|&left_out| left_out == name) {
            self.left_out.truncate(at);
            return;
        }
        if is_breaking(name) {
            self.flush();
        }
        match name {
            "a" => self.links = 0,
            "pre" => self.code = self.code.saturating_sub(1),
            "main" | "article" => self.main = self.main.saturating_sub(1),
            _ => {}
        }
    }

    /// Ends the block.
    fn flush(&mut self) {
        let role = self.role.take();
        let link_words = std::mem::take(&mut self.link_words);
        let text = std::mem::take(&mut self.text);
        let role = if self.code > 0 { Role::Code } else { role.unwrap_or(Role::Paragraph) };
        let trimmed = if role == Role::Code { text.trim_matches('\n') } else { text.trim() };
        if trimmed.trim().is_empty() {
            // `<li><p>`: the item is what comes.
            self.role = (role == Role::Item && text.is_empty()).then_some(role);
            return;
        }
        let words = words(trimmed);
        let text = trimmed.to_owned();
        let link_words = link_words.min(words);
        self.blocks.push(Block { text, role, words, link_words, within_main: self.main > 0 });
    }
}

/// Words between spaces; of scripts that write none, two characters count as one.
fn words(text: &str) -> usize {
    let dense = |c: &char| matches!(*c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}');
    text.split_whitespace().count() + text.chars().filter(dense).count() / 2
}

/// The blocks within `main` and `article`, where these hold a quarter of the words outside links.
fn chosen(blocks: Vec<Block>) -> Vec<Block> {
    let text_words = |block: &Block| block.words - block.link_words;
    let all: usize = blocks.iter().map(text_words).sum();
    let within = blocks.iter().filter(|block| block.within_main).map(text_words).sum::<usize>();
    if within >= 25 && within * 4 >= all {
        return blocks.into_iter().filter(|block| block.within_main).collect();
    }
    blocks
}

fn judge(blocks: &[Block]) -> Vec<bool> {
    let mut content: Vec<bool> = (0..blocks.len()).map(|index| is_content(blocks, index)).collect();
    // From the end, so that headings of several levels go with what follows the last of them.
    for index in (0..blocks.len()).rev() {
        let block = &blocks[index];
        if block.role == Role::Heading {
            let follows = content.get(index + 1).copied().unwrap_or(false);
            content[index] = follows && block.link_density() <= 0.34;
        }
    }
    content
}

fn is_content(blocks: &[Block], index: usize) -> bool {
    let neighbour = |index: Option<usize>| {
        let block = index.and_then(|index| blocks.get(index));
        block.map_or((0, 0.0), |block| (block.words, block.link_density()))
    };
    let block = &blocks[index];
    let (words_before, links_before) = neighbour(index.checked_sub(1));
    let (words_after, _) = neighbour(index.checked_add(1));
    if block.link_density() > 1.0 / 3.0 {
        return false;
    }
    if block.role == Role::Code {
        return true;
    }
    if links_before <= 5.0 / 9.0 {
        block.words > 16 || words_after > 15 || words_before > 4
    } else {
        block.words > 40 || words_after > 17
    }
}

/// Names of characters are at most so long.
const ENTITY_BYTES_MAX: usize = 33;

/// Text with its character references resolved.
fn unescape(raw: &str) -> Cow<'_, str> {
    if !raw.contains('&') {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('&') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let window = &rest.as_bytes()[1..rest.len().min(1 + ENTITY_BYTES_MAX)];
        let end = memchr::memchr(b';', window).map(|end| end + 1);
        let found = end.and_then(|end| Some((end, character(rest.get(1..end)?)?)));
        if let Some((end, (first, second))) = found {
            text.push(first);
            text.extend(second);
            rest = &rest[end + 1..];
        } else {
            text.push('&');
            rest = &rest[1..];
        }
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// What stands between `&` and `;`.
fn character(name: &str) -> Option<(char, Option<char>)> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16).ok()?,
            None => number.parse().ok()?,
        };
        return Some((char::from_u32(code).filter(|&c| c != '\0')?, None));
    }
    let &(first, second) = html5ever::data::NAMED_ENTITIES.get(&*format!("{name};"))?;
    let first = char::from_u32(first).filter(|&c| c != '\0')?;
    Some((first, char::from_u32(second).filter(|&c| c != '\0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"<!DOCTYPE html><html><head><title>T</title>
<style>p { color: red }</style><script>if (a < b) { document.write("<p>no</p>") }</script></head>
<body class="a>b"><nav><ul><li><a href=/>Home</a></li><li><a href=/b>About us</a></li></ul></nav>
<div class='menu'><a href="1">One</a> <a href="2">Two</a> <a href="3">Three</a></div>
<h1>On the keeping of bees</h1>
<p>A hive is kept in a dry place that is open to the morning sun and sheltered from the wind, and
the grass before it is cut &amp; kept short so that bees which fall can rise.</p>
<!-- a comment <p>no</p> -->
<p>In spring the colony grows quickly, and whoever does not give it room in time will see it swarm
one fine morning, caf&eacute; &#8212; and &#x201C;all&#x201D; that.</p>
<pre>let hive = 1;
    hive += 1;</pre>
<ul><li>one frame of brood, with the bees that sit on it, taken from the middle of the hive</li>
<li><p>two frames of honey, and a comb that is empty and clean for the queen to lay in</p></li>
</ul>
<div>Share this <a href=x>on one site</a> <a href=y>or on the other</a></div>
<footer>All rights reserved by somebody who wrote a long sentence down here for nobody.</footer>
<p>Copyright</p></body></html>"#;

    #[test]
    fn the_text_stays_and_what_surrounds_it_goes() {
        let text = main_text(PAGE);
        assert!(text.starts_with("On the keeping of bees\n\nA hive is kept"), "{text}");
        for kept in
            ["wind, and the grass", "cut & kept", "café — and “all” that", "\n    hive += 1;"]
        {
            assert!(text.contains(kept), "{kept}: {text}");
        }
        assert!(text.contains("- one frame of brood") && text.contains("hive\n- two frames"));
        for gone in ["Home", "About", "Two", "color", "write", "no", "Share", "rights"] {
            assert!(!text.split(|c: char| !c.is_alphanumeric()).any(|word| word == gone), "{gone}");
        }
    }

    #[test]
    fn a_main_element_is_believed() {
        let words = "words that fill a paragraph until it is long enough to count as content here ";
        let outside = format!("<p>{} outside</p>", words.repeat(2));
        let page = format!("{outside}<main><p>{}</p></main>{outside}", words.repeat(3));
        assert!(!main_text(&page).contains("outside"));
        let small = format!("{outside}<main><p>small</p></main>{outside}");
        assert!(main_text(&small).contains("outside"));
    }

    #[test]
    fn hostile_pages_end_soon() {
        let mut attributes = "<p ".to_owned();
        for index in 0..200_000 {
            attributes.extend(["a", &index.to_string(), " "]);
        }
        let cases = [
            attributes,
            "<".repeat(1 << 20),
            "<a=\"".repeat(1 << 18),
            "<a='".repeat(1 << 18) + &"<b c=\"".repeat(1 << 17),
            "<div>".repeat(1 << 18),
            "<svg>".repeat(1 << 18),
            "</p>".repeat(1 << 18),
            "<!--".repeat(1 << 18),
            "<script></".repeat(1 << 18),
            "&".repeat(1 << 20),
            "&#99999999999;&#0;&#xd800;&nosuch;&amp".repeat(1 << 14),
            "<a><a>x".repeat(1 << 16),
            "<p/>é<é".repeat(1 << 16),
        ];
        for case in cases {
            let start = std::time::Instant::now();
            let text = main_text(&case);
            assert!(text.len() <= 2 * case.len());
            assert!(start.elapsed().as_secs() < 5, "{}", &case[..20]);
        }
    }

    #[test]
    fn what_is_never_closed_swallows_nothing() {
        let long = "a sentence that is long enough to be the content of a page, by its words, \
                    and more";
        assert!(main_text(&format!("<nav><a>x</a><h1>Title</h1><p>{long}</p>")).contains(long));
        assert!(main_text(&format!("<p title=\"x>{long}</p>")).contains("sentence"));
        assert_eq!(main_text("<script><p>all of this is code"), "");
    }
}
