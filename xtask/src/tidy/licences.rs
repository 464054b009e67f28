//! The licences under which others' code may come in. Source: SPDX specification 2.3, annex D
//! (licence expressions); `a/b` is Cargo's older way to write `a OR b`.

use super::Finding;
use super::metadata::Package;

const ALLOWED: [&str; 13] = [
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "CC0-1.0",
    "0BSD",
    "MPL-2.0",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "MIT-0",
];

pub(crate) fn check(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        let licence = package.license.as_deref().unwrap_or_default();
        let why = match allows(licence) {
            Some(true) => continue,
            Some(false) => "is not on the list of xtask tidy",
            None => "is no licence expression",
        };
        let what = format!("{} {}: \"{licence}\" {why}", package.name, package.version);
        findings.push(Finding::new("Cargo.lock", 1, what));
    }
    findings
}

/// Whether the terms of an expression can be met with licences on the list; `None` if it is not
/// one.
fn allows(expression: &str) -> Option<bool> {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<_> = spaced.split_whitespace().collect();
    let mut words = &words[..];
    let value = either(&mut words)?;
    words.is_empty().then_some(value)
}

/// `both OR both OR ...`: binds weakest.
fn either(words: &mut &[&str]) -> Option<bool> {
    let mut value = both(words)?;
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        value |= both(words)?;
    }
    Some(value)
}

/// `one AND one AND ...`
fn both(words: &mut &[&str]) -> Option<bool> {
    let mut value = one(words)?;
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        value &= one(words)?;
    }
    Some(value)
}

/// An expression in brackets, or a name, perhaps `WITH` an exception (which only ever permits
/// more).
fn one(words: &mut &[&str]) -> Option<bool> {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let value = either(words)?;
            let [")", rest @ ..] = *words else { return None };
            *words = rest;
            Some(value)
        }
        ["OR" | "AND" | "WITH" | ")", ..] | [] => None,
        [name, "WITH", exception, rest @ ..] if is_name(exception) => {
            *words = rest;
            is_name(name).then(|| ALLOWED.contains(name))
        }
        [name, rest @ ..] => {
            *words = rest;
            is_name(name).then(|| ALLOWED.contains(name))
        }
    }
}

fn is_name(word: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '+');
    !matches!(word, "OR" | "AND" | "WITH") && word.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_expression(expression: &str, expected: Option<bool>) {
        assert_eq!(allows(expression), expected, "{expression}");
    }

    #[test]
    fn names() {
        check_expression("MIT", Some(true));
        check_expression("GPL-3.0", Some(false));
        check_expression("mit", Some(false));
        check_expression("", None);
        check_expression("MIT Apache-2.0", None);
        check_expression("custom: see file", None);
    }

    #[test]
    fn one_of_several_is_enough_and_all_of_several_are_needed() {
        check_expression("GPL-2.0 OR MIT", Some(true));
        check_expression("Unlicense/MIT", Some(true));
        check_expression("MIT AND GPL-2.0", Some(false));
        check_expression("MIT AND ISC", Some(true));
        // AND binds stronger than OR.
        check_expression("MIT OR ISC AND GPL-2.0", Some(true));
        check_expression("(MIT OR ISC) AND GPL-2.0", Some(false));
        check_expression("(MIT OR GPL-2.0) AND (Zlib OR GPL-2.0) AND Unicode-3.0", Some(true));
    }

    #[test]
    fn exceptions() {
        check_expression("Apache-2.0 WITH LLVM-exception OR GPL-2.0", Some(true));
        check_expression("GPL-3.0 WITH GCC-exception-3.1", Some(false));
        check_expression("MIT WITH", None);
    }

    #[test]
    fn broken_expressions_are_told() {
        for broken in ["MIT OR", "OR MIT", "(MIT", "MIT)", "()", "MIT AND OR ISC"] {
            check_expression(broken, None);
        }
    }
}
