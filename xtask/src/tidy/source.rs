//! Rules for one Rust file: header, widths, sizes, names, things left undone.

use super::Finding;
use super::lexer::Source;

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 800;
const LINE_COLUMNS_MAX: usize = 100;
/// A header that contains this gives the reason for a long file.
const LONG_BECAUSE: &str = "long because";
/// Micro-kernels are written out; they may be as long as they need.
const MICRO_KERNELS: &str = "crates/kernels/src/";
/// Macros that must not be committed.
const UNDONE: [&str; 3] = ["todo", "unimplemented", "dbg"];

pub(crate) fn check(file: &str, source: &Source<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |line, what: String| findings.push(Finding::new(file, line, what));
    if !source.text.starts_with("//!") {
        find(1, "the first line is no `//!` that says what this file is".to_owned());
    }
    let lines = source.text.lines().count();
    let header = source.text.lines().take_while(|line| line.starts_with("//!"));
    // The reason may be broken over two lines.
    let header: Vec<_> = header.map(|line| line.trim_start_matches("//!").trim()).collect();
    if lines > FILE_LINES_MAX && !header.join(" ").contains(LONG_BECAUSE) {
        find(
            1,
            format!("{lines} lines (of {FILE_LINES_MAX}), no \"{LONG_BECAUSE}\" in the header"),
        );
    }
    for (number, line) in source.text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > LINE_COLUMNS_MAX {
            find(number + 1, format!("{columns} columns; at most {LINE_COLUMNS_MAX}"));
        }
    }
    for (index, token) in source.tokens.iter().enumerate() {
        let called =
            source.token(index + 1) == "!" && matches!(source.token(index + 2), "(" | "[" | "{");
        if UNDONE.contains(&token.text) && called {
            find(token.line, format!("{}! is left over", token.text));
        }
        if token.text == "fn" {
            let name = source.token(index + 1);
            if name.starts_with("get_") && is_public(source, index) {
                find(token.line, format!("{name}: call it {}", &name[4..]));
            }
            let lines = function_lines(source, index);
            if lines > FUNCTION_LINES_MAX && !file.starts_with(MICRO_KERNELS) {
                find(token.line, format!("{name}: {lines} lines; at most {FUNCTION_LINES_MAX}"));
            }
        }
    }
    findings
}

/// How many lines the function whose `fn` is token `index` takes; 0 if it has no body.
fn function_lines(source: &Source<'_>, index: usize) -> usize {
    // A type such as `fn(u8)` has no name.
    if matches!(source.token(index + 1), "(" | "" | "<") {
        return 0;
    }
    let mut at = index + 1;
    while at < source.tokens.len() {
        match source.token(at) {
            "(" | "[" => at = source.closing(at),
            "{" => {
                return source.tokens[source.closing(at)].line + 1 - source.tokens[index].line;
            }
            ";" | "}" => return 0,
            _ => {}
        }
        at += 1;
    }
    0
}

/// Whether the function whose `fn` is token `index` is `pub`, in whatever way.
fn is_public(source: &Source<'_>, index: usize) -> bool {
    let before = source.tokens[..index].iter().rev();
    let mut words = before.map(|token| token.text).skip_while(|text| {
        // An empty text is the ABI of `extern "C"`.
        matches!(*text, "const" | "async" | "unsafe" | "extern" | "")
    });
    match words.next() {
        Some("pub") => true,
        Some(")") => {
            let mut words = words.skip_while(|text| *text != "(");
            words.nth(1) == Some("pub")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in a file that begins with a header, as `line: what`.
    fn check_text(file: &str, text: &str, expected: &[&str]) {
        let findings = check(file, &Source::new(text));
        let found: Vec<_> =
            findings.iter().map(|found| format!("{}: {}", found.line, found.what)).collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found} is not {expected}");
        }
    }

    #[test]
    fn a_header_is_needed() {
        check_text("a.rs", "//! What it is.\nfn a() {}\n", &[]);
        check_text("a.rs", "fn a() {}\n", &["1: the first line"]);
        check_text("a.rs", "", &["1: the first line"]);
        check_text("a.rs", "// no\n//! What\n", &["1: the first line"]);
    }

    #[test]
    fn lines_have_a_width() {
        check_text("a.rs", &format!("//! {}\n", "é".repeat(96)), &[]);
        check_text("a.rs", &format!("//! {}\n", "é".repeat(97)), &["1: 101 columns"]);
    }

    #[test]
    fn functions_have_a_length() {
        let function = |lines| format!("//! x\nfn a<T>(x: [u8; 2])\nwhere\n T: X,\n{{{lines}}}\n");
        check_text("a.rs", &function("\n".repeat(66)), &[]);
        check_text("a.rs", &function("\n".repeat(67)), &["2: a: 71 lines"]);
        check_text("crates/kernels/src/scalar/a.rs", &function("\n".repeat(67)), &[]);
        let declared = format!("//! x\ntrait A {{\n fn a();\n{}}}\n", "\n".repeat(99));
        check_text("a.rs", &declared, &[]);
        let pointer = format!("//! x\nstruct A {{\n a: fn(u8),\n{}}}\n", "\n".repeat(99));
        check_text("a.rs", &pointer, &[]);
        let text = format!("//! x\nfn a() {{ \"}}\" /* }} */; {}}}\n", "\n".repeat(70));
        check_text("a.rs", &text, &["2: a: 71 lines"]);
    }

    #[test]
    fn files_have_a_length() {
        let lines = "\n".repeat(800);
        check_text("a.rs", &format!("//! x\n{}", &lines[1..]), &[]);
        check_text("a.rs", &format!("//! x\n{lines}"), &["1: 801 lines"]);
        check_text("a.rs", &format!("//! It is long\n//! because it is a table.\n{lines}"), &[]);
        check_text("a.rs", &format!("//! x\n{lines}// long because\n"), &["1: 802 lines"]);
    }

    #[test]
    fn nothing_is_left_undone() {
        let text = "//! x\nfn a() { todo!() }\nfn b() { dbg!(1); unimplemented!() }\n";
        check_text("a.rs", text, &["2: todo!", "3: dbg!", "3: unimplemented!"]);
        check_text("a.rs", "//! todo!()\nfn a() { \"todo!()\"; todo != 3; todo(); }\n", &[]);
    }

    #[test]
    fn getters_have_plain_names() {
        for public in ["pub fn", "pub(crate) fn", "pub(in a::b) const unsafe extern \"C\" fn"] {
            check_text(
                "a.rs",
                &format!("//! x\n{public} get_x() {{}}\n"),
                &["2: get_x: call it x"],
            );
        }
        check_text("a.rs", "//! x\nfn get_x() {}\npub fn gets() {}\n", &[]);
        check_text("a.rs", "//! x\npub struct A(u8);\nimpl A { fn get_x() {} }\n", &[]);
    }
}
