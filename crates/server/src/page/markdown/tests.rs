//! What markdown becomes; what hostile text does not become; what it costs.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::stream::{Step, Streamer, Tail};
use super::writer::SCHEMES;
use super::*;

#[test]
fn markdown_becomes_html() {
    for (text, expected) in [
        (
            "hello *you* and **all** ~~none~~",
            "<p>hello <em>you</em> and <strong>all</strong> <del>none</del></p>\n",
        ),
        ("# One\n\ntwo", "<h1>One</h1>\n<p>two</p>\n"),
        ("- [x] a\n- [ ] b", "<ul>\n<li>\u{2611} a</li>\n<li>\u{2610} b</li>\n</ul>\n"),
        ("3. a\n4. b", "<ol start=\"3\">\n<li>a</li>\n<li>b</li>\n</ol>\n"),
        ("a<br>b<br/>c<BR />d", "<p>a<br>b<br>c<br>d</p>\n"),
        ("x $a_1 < b_1$ y", "<p>x $a_1 &lt; b_1$ y</p>\n"),
        (
            "|a|b|\n|:-|-:|\n|1|2|",
            "<div class=\"wide\"><table><thead><tr><th class=\"left\">a</th>\
             <th class=\"right\">b</th></tr></thead><tbody>\n<tr><td class=\"left\">1</td>\
             <td class=\"right\">2</td></tr>\n</tbody></table></div>\n",
        ),
        (
            "```Rust,ignore\nlet a = \"<b>\";\n```",
            "<div class=\"code\"><div class=\"code-head\"><span class=\"code-name\">rust</span>\
             <button type=\"button\" class=\"copy\">Copy</button></div><pre>\
             <code class=\"language-rust\">let a = \"&lt;b&gt;\";\n</code></pre></div>\n",
        ),
        (
            "[a](https://example.org/?b=1&c=2 \"t\")",
            "<p><a class=\"outside\" href=\"https://example.org/?b=1&amp;c=2\" title=\"t\" \
             rel=\"noopener noreferrer nofollow\">a</a></p>\n",
        ),
        (
            "![a cat](https://example.org/cat.png)",
            "<p><a class=\"outside picture\" href=\"https://example.org/cat.png\" \
             rel=\"noopener noreferrer nofollow\">a cat</a></p>\n",
        ),
        // A picture in a link is its words; an address that is not allowed leaves the words.
        (
            "[![a](https://b.example/c)](https://d.example)",
            "<p><a class=\"outside\" href=\"https://d.example\" \
             rel=\"noopener noreferrer nofollow\">a</a></p>\n",
        ),
        ("[a](/page/api/conversations) [b](//example.org)", "<p>a b</p>\n"),
        ("", ""),
    ] {
        assert_eq!(render(text), expected, "{text}");
    }
}

/// Texts that try to become something that runs, loads, or leads somewhere.
const HOSTILE: &[&str] = &[
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    "<img src=x onerror=alert(1)>",
    "<img src=\"https://evil.example/pixel.gif\">",
    "![](https://evil.example/pixel.gif)",
    "![x](javascript:alert(1))",
    "![x](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9YWxlcnQoMSk+)",
    "<svg onload=alert(1)><animate onbegin=alert(1)></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)></style></table></math>",
    "<iframe src=https://evil.example></iframe>",
    "<object data=x></object><embed src=x><applet code=x></applet>",
    "<form action=https://evil.example><input name=a><button>b</button></form>",
    "<style>body{background:url(https://evil.example)}</style>",
    "<div style=\"background:url(https://evil.example)\">a</div>",
    "<link rel=stylesheet href=https://evil.example>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href=https://evil.example/>",
    "<a href=javascript:alert(1)>a</a>",
    "[a](javascript:alert(1))",
    "[a](JaVaScRiPt:alert(1))",
    "[a](java\tscript:alert(1))",
    "[a](<java\nscript:alert(1)>)",
    "[a](&#106;avascript:alert(1))",
    "[a](&#x6A;avascript&colon;alert(1))",
    "[a](\u{1}javascript:alert(1))",
    "[a]( javascript:alert(1))",
    "[a](vbscript:msgbox(1))",
    "[a](data:text/html,<script>alert(1)</script>)",
    "[a](file:///etc/passwd)",
    "[a](blob:https://evil.example/1)",
    "[a](//evil.example)",
    "[a](https://x\" onmouseover=\"alert(1))",
    "[a](https://x 'y\" onmouseover=\"alert(1)')",
    "<javascript:alert(1)>",
    "<https://x.example/\"onmouseover=alert(1)>",
    "[a]: javascript:alert(1)\n\n[a]",
    "```\"><script>alert(1)</script>\ncode\n```",
    "```a\" onclick=\"alert(1)\ncode\n```",
    "~~~ <img src=x onerror=alert(1)>\n<script>alert(1)</script>\n~~~",
    "`<script>alert(1)</script>`",
    "|<script>|b|\n|-|-|\n|<img src=x onerror=alert(1)>|d|",
    "# <svg/onload=alert(1)>",
    "<!--><script>alert(1)</script>-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?php echo '<script>alert(1)</script>'; ?>",
    "<!DOCTYPE html [<!ENTITY x '<script>'>]>&x;",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "</code></pre></div><script>alert(1)</script>",
    "<textarea></textarea><script>alert(1)</script>",
    "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
    "<template><script>alert(1)</script></template>",
    "<video src=x onerror=alert(1)><audio src=x><source srcset=x><track src=x>",
    "<details open ontoggle=alert(1)>a</details>",
    "<p id=location name=cookie class=sidebar>a</p>",
    "<x onclick=alert(1)>a</x><custom-element>b</custom-element>",
    "**<script>**alert(1)**</script>**",
    "- <script>\n- alert(1)\n- </script>",
    "> <script>alert(1)\n> </script>",
    "[<img src=x onerror=alert(1)>](https://x.example)",
    "[a](https://evil.example/\u{202e}gpj.exe)",
    "\0<script>alert(1)</script>\u{feff}",
];

/// What a browser makes of our HTML consists of elements that do nothing by themselves.
fn check_harmless(text: &str, html: &str) {
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        let end = rest[start..].find('>').map(|end| start + end).expect(html);
        check_element(text, &rest[start + 1..end]);
        rest = &rest[end + 1..];
    }
}

/// `name a="b" c="d"`, or `/name`.
fn check_element(text: &str, element: &str) {
    const NAMES: &str = " p br hr h1 h2 h3 h4 h5 h6 blockquote pre code ul ol li table thead \
        tbody tr th td em strong del a div span button ";
    let (name, mut attributes) = element.split_once(' ').unwrap_or((element, ""));
    let name = name.trim_start_matches('/');
    assert!(NAMES.contains(&format!(" {name} ")), "{text:?} made <{element}>");
    while !attributes.is_empty() {
        let (attribute, rest) = attributes.split_once("=\"").expect(element);
        let (value, rest) = rest.split_once('"').expect(element);
        attributes = rest.trim_start();
        let allowed = match attribute.trim() {
            "class" => !value.contains("sidebar"),
            "href" => SCHEMES.iter().any(|scheme| value.to_lowercase().starts_with(scheme)),
            "rel" => value == "noopener noreferrer nofollow",
            "type" => value == "button",
            "start" => value.bytes().all(|byte| byte.is_ascii_digit()),
            "title" => true,
            _ => false,
        };
        assert!(allowed, "{text:?} made <{element}>");
    }
}

#[test]
fn nothing_hostile_comes_through() {
    for text in HOSTILE {
        let html = render(text);
        check_harmless(text, &html);
        assert!(!html.contains(['\0', '\u{202e}']), "{text:?} became {html}");
        // In each place where markdown may stand, and while it is written.
        for (before, after) in [
            ("a ", " b"),
            ("> - ", "\n"),
            ("|a|\n|-|\n|", "|"),
            ("[", "](https://x.example)"),
            ("![", "](https://x.example)"),
            ("[a](https://x.example \"", "\")"),
            ("```", "\n```"),
            ("# ", " #"),
            ("**", "**"),
        ] {
            let text = format!("{before}{text}{after}");
            check_harmless(&text, &render(&text));
        }
        for html in steps(text, 1).0 {
            check_harmless(text, &html);
        }
    }
}

#[test]
fn sieve_alone_would_hold() {
    // The second wall without the first.
    for text in HOSTILE {
        check_harmless(text, &SIEVE.clean(text).to_string());
    }
}

#[test]
fn bombs_cost_little() {
    let many = |text: &str, bytes: usize| text.repeat(bytes / text.len());
    let definitions: String =
        (0..4000).fold(String::new(), |text, n| text + &format!("[a{n}]: https://x.example/{n}\n"));
    let long = format!("[a]: https://x.example/{}\n\n{}", many("a", 50_000), many("[a] ", 50_000));
    let columns =
        format!("|{}\n|{}\n{}", many("a|", 20_000), many("-|", 20_000), many("|\n", 40_000));
    let bombs = [
        many("> ", 100_000),
        many("- ", 100_000),
        many("1. ", 100_000),
        many("> - 1. ", 100_000),
        many("*", 100_000),
        many("*a **a ", 100_000),
        many("_a __a ~~a ", 100_000),
        many("[", 100_000),
        many("![", 100_000),
        many("[a](", 100_000),
        many("[a](<", 100_000),
        many("](", 100_000),
        many("`", 100_000),
        many("`a``b```", 100_000),
        many("<", 100_000),
        many("<a ", 100_000),
        many("<!--", 100_000),
        many("<![CDATA[", 100_000),
        many("&", 100_000),
        many("\\", 100_000),
        many("\n", 100_000),
        many("a\n\n", 100_000),
        many("[a](https://x.example)", 200_000),
        many("```\n", 100_000),
        many("~~~a\n", 100_000),
        many("|a|\n|-|\n", 100_000),
        many("    a\n", 100_000),
        (0..400).fold(String::new(), |text, n| text + &"  ".repeat(n) + "- a\n"),
        format!("{definitions}{}", many("[a1] ", 50_000)),
        long,
        columns,
        many("\"", 600_000),
    ];
    for bomb in &bombs {
        let name: String = bomb.chars().take(20).collect();
        let begun = Instant::now();
        let html = render(bomb);
        let took = begun.elapsed();
        check_harmless(&name, &html);
        // Hundred times what it takes; what grows with the square takes far longer.
        assert!(took < Duration::from_secs(3), "{name:?}: {took:?}");
        assert!(html.len() <= 20 * bomb.len() + (64 << 10), "{name:?}: {} bytes", html.len());
    }
}

/// The HTML after each step of `len` characters, the last with an end of line, and the bytes that
/// were rendered.
fn steps(text: &str, len: usize) -> (Vec<String>, usize) {
    let mut streamer = Streamer::default();
    let (mut settled, mut shown) = (String::new(), Vec::new());
    let characters: Vec<char> = text.chars().collect();
    for part in characters.chunks(len.max(1)) {
        let Step { settled: more, tail } = streamer.push(&part.iter().collect::<String>());
        settled.push_str(&more);
        if let Tail::Html(tail) = tail {
            shown.push(format!("{settled}{tail}"));
        }
    }
    (shown, streamer.work)
}

#[test]
fn rendering_while_writing_is_linear() {
    for text in [
        "a paragraph of some words.\n\n".repeat(2_000),
        format!("```\n{}", "a line of code in one block\n".repeat(2_000)),
        "- an item of a list\n".repeat(2_000),
        "words ".repeat(8_000),
    ] {
        let (_, work) = steps(&text, 8);
        // Short tails are rendered whole at each step of eight bytes.
        let bound = text.len() * 12 + (2 << 10) * (2 << 10) / 8;
        let small = text.starts_with("a par");
        let bound = if small { text.len() * 8 } else { bound };
        assert!(work < bound, "{} bytes rendered for {}", work, text.len());
    }
}

/// Lines of all kinds of blocks.
#[rustfmt::skip]
const LINES: &[&str] = &[
    "words *and* more",
    "    indented",
    "\ttab",
    "- item",
    "  - deeper",
    "* star",
    "1. one",
    "2. two",
    "> quote",
    ">> deeper",
    "# heading",
    "===",
    "---",
    "- - -",
    "```",
    "```rust",
    "~~~",
    "|a|b|",
    "|-|:-:|",
    "|1|2|",
    "<div>",
    "</div>",
    "<!-- a",
    "b -->",
    "",
    "",
    "",
    "`code",
    "code` *a",
    "**b",
    "a  ",
    "\\",
    "+",
    "-",
    "  ",
    "1)",
    "[a](https://x.example",
    "<b>x</b>",
    "#",
    "\u{a0}",
    "é漢",
];

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3000, failure_persistence: None, ..Default::default()
    })]

    #[test]
    fn written_step_by_step_it_is_the_same(
        lines in prop::collection::vec(prop::sample::select(LINES), 0..14),
        len in 1usize..20,
    ) {
        let text = lines.join("\n");
        let (shown, _) = steps(&text, len);
        prop_assert_eq!(shown.last().cloned().unwrap_or_default(), render(&text));
    }

    #[test]
    fn any_text_is_harmless(text in ".{0,60}", len in 4usize..30) {
        check_harmless(&text, &render(&text));
        for html in steps(&text, len).0 {
            check_harmless(&text, &html);
        }
    }
}
