//! Rules for `unsafe`: where it may be, and that each use says why it is sound.

use super::Finding;
use super::lexer::{Comment, Source};

/// The crates in which `unsafe` may be written.
const INSIDE: [&str; 2] = ["crates/kernels/", "crates/sys/"];
const REASON: &str = "SAFETY";

/// Whether a file is the root of a library or program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    CrateRoot,
    Module,
}

pub(crate) fn check(file: &str, source: &Source<'_>, role: Role) -> Vec<Finding> {
    let mut findings = Vec::new();
    let inside = INSIDE.iter().any(|folder| file.starts_with(folder));
    if role == Role::CrateRoot && !inside && !forbids(source) {
        findings.push(Finding::new(file, 1, "no `#![forbid(unsafe_code)]`"));
    }
    for (index, token) in source.tokens.iter().enumerate() {
        if token.text != "unsafe" {
            continue;
        }
        if !inside {
            let what = "`unsafe` outside the crates kernels and sys";
            findings.push(Finding::new(file, token.line, what));
        } else if matches!(source.token(index + 1), "{" | "impl" | "extern")
            && !(source.token(index + 1) == "extern" && declares_function(source, index))
            && !is_explained(source, index)
        {
            let what = format!("`unsafe` without a comment `// {REASON}: why` before it");
            findings.push(Finding::new(file, token.line, what));
        }
    }
    findings
}

/// Whether the file has `#![forbid(unsafe_code)]`, perhaps among other lints.
fn forbids(source: &Source<'_>) -> bool {
    (0..source.tokens.len()).any(|index| {
        let start = ["#", "!", "[", "forbid", "("];
        start.iter().enumerate().all(|(offset, text)| source.token(index + offset) == *text)
            && source.tokens[index + 4..=source.closing(index + 4)]
                .iter()
                .any(|token| token.text == "unsafe_code")
    })
}

/// Whether `unsafe extern` at token `index` begins a function or its type rather than a block of
/// declarations.
fn declares_function(source: &Source<'_>, index: usize) -> bool {
    source.token(index + 2) == "fn" || source.token(index + 3) == "fn"
}

/// Whether a comment with the reason lies between the start of the statement and the `unsafe` at
/// token `index`, or directly above its line.
fn is_explained(source: &Source<'_>, index: usize) -> bool {
    let mut before = source.tokens[..index].iter();
    let start = before.rposition(|token| matches!(token.text, ";" | "{" | "}"));
    let start = start.map_or(0, |boundary| boundary + 1);
    let within = |comment: &&Comment<'_>| (start..=index).contains(&comment.tokens_before);
    if source.comments.iter().filter(within).any(|comment| comment.text.contains(REASON)) {
        return true;
    }
    // Climb through the comments that end on the line above.
    let mut line = source.tokens[index].line;
    let above = source.comments.partition_point(|comment| comment.last_line < line);
    for comment in source.comments[..above].iter().rev() {
        if comment.last_line + 1 < line {
            break;
        }
        if comment.text.contains(REASON) {
            return true;
        }
        line = comment.first_line;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(file: &str, role: Role, text: &str, lines: &[usize]) {
        let findings = check(file, &Source::new(text), role);
        let found: Vec<_> = findings.iter().map(|found| found.line).collect();
        assert_eq!(found, lines, "{text}: {findings:?}");
    }

    #[test]
    fn roots_forbid_it() {
        let root = |file, text, lines: &[usize]| check_text(file, Role::CrateRoot, text, lines);
        root("crates/model/src/lib.rs", "//! x\n#![forbid(unsafe_code)]\n", &[]);
        root("crates/model/src/lib.rs", "//! x\n#![forbid(a, unsafe_code)]\n", &[]);
        root("crates/model/src/lib.rs", "//! x\n", &[1]);
        root("crates/model/src/lib.rs", "//! #![forbid(unsafe_code)]\n#![forbid(a)]\n", &[1]);
        root("crates/sys/src/lib.rs", "//! x\n", &[]);
        check_text("crates/model/src/a.rs", Role::Module, "//! x\n", &[]);
    }

    #[test]
    fn elsewhere_it_is_a_finding() {
        let text = "// SAFETY: x\nunsafe { a() }\nunsafe fn a() {}\n\"unsafe\"; // unsafe\n";
        check_text("crates/model/src/a.rs", Role::Module, text, &[2, 3]);
    }

    #[test]
    fn each_block_has_its_reason() {
        let inside = |text, lines: &[usize]| {
            check_text("crates/sys/src/a.rs", Role::Module, text, lines);
        };
        inside("fn a() {\n unsafe { b() }\n}", &[2]);
        inside("fn a() {\n // why\n unsafe { b() }\n}", &[3]);
        inside("fn a() {\n // SAFETY: b.\n unsafe { b() }\n}", &[]);
        inside("fn a() {\n // SAFETY: b,\n // and c.\n let x =\n unsafe { b() };\n}", &[]);
        inside("fn a() {\n // SAFETY: b.\n unsafe { b() }\n unsafe { c() }\n}", &[4]);
        inside("fn a() {\n // SAFETY: b.\n b();\n unsafe { c() }\n}", &[4]);
        inside("fn a() {\n // SAFETY: b.\n\n A { x: unsafe { c() } }\n}", &[4]);
        inside("fn a() {\n // SAFETY: b.\n A { x: unsafe { c() } }\n}", &[]);
    }

    #[test]
    fn an_implementation_has_one_too_and_a_declaration_need_not() {
        let inside = |text, lines: &[usize]| {
            check_text("crates/kernels/src/a.rs", Role::Module, text, lines);
        };
        inside("unsafe impl Send for A {}", &[1]);
        inside("// SAFETY: x.\nunsafe impl Send for A {}", &[]);
        inside("unsafe fn a() {}\nunsafe trait B {}\ntype C = unsafe extern \"C\" fn();", &[]);
        inside("unsafe extern \"C\" { fn a(); }", &[1]);
    }
}
