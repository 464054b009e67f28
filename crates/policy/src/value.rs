//! Values of closed forms: what a process that read untrusted text may hand to one that did not.
//! Such a value can be wrong, but no instruction fits into it.
//!
//! A span that is quoted from a text is not among them: it speaks as the text does, and can only be
//! passed on without being read.

use serde::{Deserialize, Serialize};

/// Which values are allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// One of some words that were fixed before anything untrusted was read.
    OneOf(Vec<String>),
    /// A whole number within bounds, both included.
    Integer {
        /// The least.
        from: i64,
        /// The largest.
        to: i64,
    },
    /// A decimal number: a sign, up to fifteen digits, a point and up to six digits more.
    Decimal,
    /// A day of the Gregorian calendar, `2026-11-23`, from 1900 to 2199.
    Date,
    /// Yes or no.
    Flag,
}

/// A value of a form, in the one way in which it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Value(String);

/// Why a text is no value of a form. It does not repeat the text, which is nobody's to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FormError {
    /// None of the words.
    NotOneOf,
    /// No number, or one that is written in another way.
    NoNumber,
    /// A number beyond the bounds.
    OutOfBounds,
    /// No day, or one that is written in another way.
    NoDate,
    /// Neither `yes` nor `no`.
    NoFlag,
}

impl Value {
    /// As it is written.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl Form {
    /// Reads a value. Only the canonical way to write it is taken: two ways would be one bit more.
    ///
    /// # Errors
    /// The text is none.
    pub fn parse(&self, text: &str) -> Result<Value, FormError> {
        match self {
            Self::OneOf(words) => {
                if !words.iter().any(|word| word == text) {
                    return Err(FormError::NotOneOf);
                }
            }
            Self::Integer { from, to } => {
                let number: i64 = text.parse().map_err(|_| FormError::NoNumber)?;
                if number.to_string() != text {
                    return Err(FormError::NoNumber);
                }
                if !(*from..=*to).contains(&number) {
                    return Err(FormError::OutOfBounds);
                }
            }
            Self::Decimal => {
                if !is_decimal(text) {
                    return Err(FormError::NoNumber);
                }
            }
            Self::Date => {
                if !is_date(text) {
                    return Err(FormError::NoDate);
                }
            }
            Self::Flag => {
                if !matches!(text, "yes" | "no") {
                    return Err(FormError::NoFlag);
                }
            }
        }
        Ok(Value(text.to_owned()))
    }
}

fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(a, b)| (a, Some(b)));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let canonical = whole == "0" || !whole.starts_with('0');
    let fraction =
        fraction.is_none_or(|part| all_digits(part) && part.len() <= 6 && !part.ends_with('0'));
    let zero = digits.bytes().all(|b| matches!(b, b'0' | b'.'));
    let signed = text.len() > digits.len();
    all_digits(whole) && whole.len() <= 15 && canonical && fraction && !(zero && signed)
}

fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shape = bytes.len() == 10
        && bytes.iter().enumerate().all(|(index, byte)| match index {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    if !shape {
        return false;
    }
    let number = |from: usize, to: usize| {
        bytes[from..to].iter().fold(0u32, |number, byte| number * 10 + u32::from(byte - b'0'))
    };
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return false,
    };
    (1900..2200).contains(&year) && (1..=days).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(form: &Form, good: &[&str], bad: &[(&str, FormError)]) {
        for text in good {
            assert_eq!(form.parse(text).map(|value| value.text().to_owned()), Ok((*text).into()));
        }
        for (text, error) in bad {
            assert_eq!(form.parse(text), Err(*error), "{text:?}");
        }
    }

    #[test]
    fn words_are_those_that_were_fixed() {
        let form = Form::OneOf(vec!["spam".to_owned(), "ham".to_owned()]);
        let none = FormError::NotOneOf;
        check(&form, &["spam", "ham"], &[("Spam", none), ("ham ", none), ("", none)]);
    }

    #[test]
    fn whole_numbers_have_bounds_and_one_way_to_be_written() {
        let form = Form::Integer { from: -5, to: 120 };
        let none = FormError::NoNumber;
        let beyond = FormError::OutOfBounds;
        check(
            &form,
            &["-5", "0", "7", "120"],
            &[
                ("-6", beyond),
                ("121", beyond),
                ("007", none),
                ("+7", none),
                ("-0", none),
                ("7.0", none),
                ("seven", none),
                ("99999999999999999999", none),
                ("", none),
            ],
        );
    }

    #[test]
    fn decimals_have_one_way_to_be_written() {
        let none = FormError::NoNumber;
        let good = ["0", "10", "-1", "0.5", "-0.5", "999999999999999", "12.000001"];
        let bad = [
            "",
            "-",
            ".",
            "0.",
            ".5",
            "00",
            "01",
            "1.50",
            "-0",
            "-0.0",
            "0.0",
            "1.0000001",
            "1e5",
            "1,5",
            "1 000",
            "١",
            "9999999999999999",
            "1.2.3",
            "--1",
        ];
        check(&Form::Decimal, &good, &bad.map(|text| (text, none)));
    }

    #[test]
    fn days_are_days_of_the_calendar() {
        let none = FormError::NoDate;
        let good = [
            "2026-11-23",
            "2024-02-29",
            "2000-02-29",
            "1900-01-01",
            "2199-12-31",
            "2026-04-30",
            "2026-01-31",
        ];
        let bad = [
            "2026-02-29",
            "2100-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-04-31",
            "2026-06-31",
            "2026-09-31",
            "2026-11-31",
            "2026-01-32",
            "2026-01-00",
            "1899-12-31",
            "2200-01-01",
            "2026-1-01",
            "2026/01/01",
            "26-01-01",
            "2026-01-01 ",
            "2026-01-0a",
            "",
        ];
        check(&Form::Date, &good, &bad.map(|text| (text, none)));
    }

    #[test]
    fn flags_are_yes_or_no() {
        let none = FormError::NoFlag;
        check(&Form::Flag, &["yes", "no"], &[("Yes", none), ("true", none), ("", none)]);
    }
}
