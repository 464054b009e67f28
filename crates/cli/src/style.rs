//! How things look: colours (none where they are not wanted), sizes, counts, bars.

use std::fmt::Display;

pub(crate) use lucid_provider::local::{bytes_in_words as bytes, count_in_words as count};

/// Paints text, or leaves it as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    colour: bool,
}

impl Paint {
    pub(crate) fn new(colour: bool) -> Self {
        Self { colour }
    }

    pub(crate) fn bold(self, text: impl Display) -> String {
        self.with("1", text)
    }

    pub(crate) fn dim(self, text: impl Display) -> String {
        self.with("2", text)
    }

    pub(crate) fn green(self, text: impl Display) -> String {
        self.with("32", text)
    }

    pub(crate) fn cyan(self, text: impl Display) -> String {
        self.with("36", text)
    }

    /// One of six backgrounds, by turns: neighbouring pieces differ.
    pub(crate) fn piece(self, index: usize, text: impl Display) -> String {
        const BACKGROUNDS: [&str; 6] = [
            "30;48;5;152",
            "30;48;5;187",
            "30;48;5;151",
            "30;48;5;182",
            "30;48;5;223",
            "30;48;5;153",
        ];
        self.with(BACKGROUNDS[index % BACKGROUNDS.len()], text)
    }

    pub(crate) fn enabled(self) -> bool {
        self.colour
    }

    fn with(self, code: &str, text: impl Display) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// A bar of `fraction` of `width` columns, in eighths of a column.
pub(crate) fn bar(fraction: f64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (fraction.clamp(0.0, 1.0) * (width * 8) as f64).round() as usize;
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

/// Text as it may stand in a table: control characters visible, no line breaks, nothing that moves
/// a cursor.
pub(crate) fn visible(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\n' => out.push('⏎'),
                '\t' => out.push('⇥'),
                ' ' => out.push('·'),
                c if c.is_control() || is_invisible(c) => {
                    out.extend(c.escape_unicode());
                }
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            out.extend(['<', hex(byte >> 4), hex(byte & 15), '>']);
        }
    }
    out
}

fn hex(digit: u8) -> char {
    char::from_digit(u32::from(digit), 16).unwrap_or('?')
}

/// Text for a screen: what a model says must not move the cursor, ring the bell or rewrite the
/// title. Line breaks and tabs pass.
pub(crate) fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c })
        .collect()
}

/// Characters that show nothing but change how others stand: joiners, direction marks, byte order
/// mark.
fn is_invisible(c: char) -> bool {
    let joiners = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    joiners || matches!(c, '\u{202a}'..='\u{202e}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_counts() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_056_540), "1.06 MB");
        assert_eq!(bytes(999_600), "1.00 MB");
        assert_eq!(bytes(40_100_000_000), "40.1 GB");
        assert_eq!(count(260_032), "260 K");
        assert_eq!(count(1_236_000_000), "1.24 B");
    }

    #[test]
    fn bars_in_eighths() {
        assert_eq!(bar(0.5, 4), "██");
        assert_eq!(bar(0.03125, 4), "▏");
        assert_eq!(bar(2.0, 2), "██");
        assert_eq!(bar(f64::NAN, 2), "");
    }

    #[test]
    fn nothing_reaches_the_terminal_raw() {
        assert_eq!(visible(b" a\n\x1b[2J\xff"), "·a⏎\\u{1b}[2J<ff>");
        assert_eq!(harmless("ok\x1b]0;title\x07\n"), "ok\u{fffd}]0;title\u{fffd}\n");
    }
}
