//! Python's `%` formatting, `str.format` and `strftime`, with their output paid for before it is
//! made.

use super::host::{Host, invalid};
use super::operators::{integer, item};
use super::python::{repr, str_of};
use super::value::{as_dict, as_list};
use super::{LocalTime, TemplateError};
use minijinja::{Error, Value};

/// Flags, width and precision of one conversion.
#[expect(clippy::struct_excessive_bools, reason = "the flags of Python's format language")]
#[derive(Default)]
struct Spec {
    left: bool,
    center: bool,
    plus: bool,
    space: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
    comma: bool,
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn digits(chars: &mut Chars) -> usize {
    let mut n: usize = 0;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        n = n.saturating_mul(10).saturating_add(digit as usize);
        chars.next();
    }
    n
}

impl Spec {
    /// Pads `text` to the width.
    fn pad(&self, host: &Host, text: &str, is_number: bool) -> Result<String, Error> {
        let missing = self.width.saturating_sub(text.chars().count());
        host.charge((text.len() as u64).saturating_add(missing as u64))?;
        if self.zero && is_number {
            let (sign, rest) = text.split_at(usize::from(text.starts_with(['-', '+', ' '])));
            return Ok(format!("{sign}{}{rest}", "0".repeat(missing)));
        }
        let before = if self.center {
            missing / 2
        } else if self.left {
            0
        } else {
            missing
        };
        Ok(format!("{}{text}{}", " ".repeat(before), " ".repeat(missing - before)))
    }

    fn sign(&self, negative: bool) -> &'static str {
        match (negative, self.plus, self.space) {
            (true, _, _) => "-",
            (false, true, _) => "+",
            (false, false, true) => " ",
            _ => "",
        }
    }

    fn convert(&self, host: &Host, kind: char, value: &Value) -> Result<String, Error> {
        if let 's' | 'r' = kind {
            let text = if kind == 's' { str_of(host, value)? } else { repr(host, value)? };
            let text = match self.precision {
                Some(precision) => text.chars().take(precision).collect(),
                None => text,
            };
            return self.pad(host, &text, false);
        }
        if let 'd' | 'i' | 'u' | 'x' | 'X' | 'o' = kind {
            let n = integer(value).or_else(|| float_of(value).map(|x| x.trunc() as i128));
            let n = n.ok_or_else(|| invalid(format!("%{kind} takes a number")))?;
            let size = n.unsigned_abs();
            let body = match kind {
                'x' => format!("{size:x}"),
                'X' => format!("{size:X}"),
                'o' => format!("{size:o}"),
                _ if self.comma => grouped(&size.to_string()),
                _ => size.to_string(),
            };
            return self.pad(host, &format!("{}{body}", self.sign(n < 0)), true);
        }
        let x = float_of(value).ok_or_else(|| invalid(format!("%{kind} takes a number")))?;
        let precision = self.precision.unwrap_or(6);
        if precision > 400 {
            return Err(host.fail(TemplateError::Limit { what: "precision", limit: 400 }));
        }
        let size = x.abs();
        let body = match kind {
            'f' | 'F' if self.comma => {
                let text = format!("{size:.precision$}");
                let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
                let point = if rest.is_empty() { "" } else { "." };
                format!("{}{point}{rest}", grouped(whole))
            }
            'f' | 'F' => format!("{size:.precision$}"),
            'e' | 'E' => {
                let text = format!("{size:.precision$e}");
                let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
                let exponent: i32 = exponent.parse().unwrap_or(0);
                let sign = if exponent < 0 { '-' } else { '+' };
                format!("{mantissa}e{sign}{:02}", exponent.abs())
            }
            _ => return Err(invalid(format!("unknown conversion `{kind}`"))),
        };
        self.pad(host, &format!("{}{body}", self.sign(x.is_sign_negative())), true)
    }
}

fn grouped(digits: &str) -> String {
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

fn float_of(value: &Value) -> Option<f64> {
    integer(value).map(|n| n as f64).or_else(|| f64::try_from(value.clone()).ok())
}

/// `text % argument`.
pub(super) fn percent(host: &Host, text: &str, argument: &Value) -> Result<String, Error> {
    let single = [argument.clone()];
    let arguments = match as_list(argument) {
        Some(list) if list.is_tuple => &list.items[..],
        _ => &single[..],
    };
    let mut next = arguments.iter();
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        let named = chars.next_if_eq(&'(').map(|_| {
            let name: String = chars.by_ref().take_while(|&c| c != ')').collect();
            Value::from(name)
        });
        let mut spec = Spec::default();
        while let Some(flag) = chars.next_if(|c| "-+ 0#".contains(*c)) {
            match flag {
                '-' => spec.left = true,
                '+' => spec.plus = true,
                ' ' => spec.space = true,
                '0' => spec.zero = true,
                _ => {}
            }
        }
        spec.zero &= !spec.left;
        spec.width = digits(&mut chars);
        spec.precision = chars.next_if_eq(&'.').map(|_| digits(&mut chars));
        let kind = chars.next().ok_or_else(|| invalid("incomplete format"))?;
        let value = match &named {
            Some(name) => as_dict(argument).and_then(|d| d.get(name)),
            None => next.next(),
        };
        let value = value.ok_or_else(|| invalid("not enough arguments for format string"))?;
        out.push_str(&spec.convert(host, kind, value)?);
    }
    let unused = next.next().is_some() && as_dict(argument).is_none();
    if unused {
        return Err(invalid("not all arguments converted during string formatting"));
    }
    Ok(out)
}

/// `text.format(...)`: positions, names, `.attribute`, `[index]`, and
/// `[[fill]align][sign][0][width][,][.p][type]`.
pub(super) fn brace(
    host: &Host,
    text: &str,
    positional: &[Value],
    named: &dyn Fn(&str) -> Option<Value>,
) -> Result<String, Error> {
    let mut out = String::new();
    let mut automatic = 0;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if (c == '{' || c == '}') && chars.next_if_eq(&c).is_some() {
            out.push(c);
        } else if c == '{' {
            let field: String = chars.by_ref().take_while(|&c| c != '}').collect();
            let (path, spec) = field.split_once(':').unwrap_or((&field, ""));
            let (path, as_repr) = match path.strip_suffix("!r") {
                Some(path) => (path, true),
                None => (path, false),
            };
            let end = path.find(['.', '[']).unwrap_or(path.len());
            let root = match (&path[..end], path[..end].parse::<usize>()) {
                ("", _) => {
                    automatic += 1;
                    positional.get(automatic - 1).cloned()
                }
                (_, Ok(index)) => positional.get(index).cloned(),
                (name, _) => named(name),
            };
            let mut value = root.ok_or_else(|| invalid("format() lacks an argument"))?;
            for part in path[end..].split(['.', '[']).filter(|part| !part.is_empty()) {
                let part = part.trim_end_matches(']');
                let key = part.parse::<i64>().map_or_else(|_| Value::from(part), Value::from);
                value = item(host, &[value, key])?;
            }
            let text = if as_repr { Value::from(repr(host, &value)?) } else { value };
            out.push_str(&brace_field(host, spec, &text)?);
        } else if c == '}' {
            return Err(invalid("single '}' in format string"));
        } else {
            out.push(c);
        }
    }
    Ok(out)
}

fn brace_field(host: &Host, text: &str, value: &Value) -> Result<String, Error> {
    let is_number = value.is_number();
    let mut spec = Spec { left: !is_number, ..Spec::default() };
    let mut chars = text.chars().peekable();
    if let Some(align) = chars.next_if(|c| "<>^".contains(*c)) {
        spec.left = align == '<';
        spec.center = align == '^';
    }
    if let Some(sign) = chars.next_if(|c| "+- ".contains(*c)) {
        spec.plus = sign == '+';
        spec.space = sign == ' ';
    }
    spec.zero = chars.next_if_eq(&'0').is_some();
    spec.width = digits(&mut chars);
    spec.comma = chars.next_if_eq(&',').is_some();
    spec.precision = chars.next_if_eq(&'.').map(|_| digits(&mut chars));
    let default = match (is_number, spec.precision, value.is_integer()) {
        (true, None, true) => 'd',
        (true, Some(_), _) => 'f',
        _ => 's',
    };
    let kind = chars.next().unwrap_or(default);
    if chars.next().is_some() {
        return Err(invalid(format!("format specification `{text}` is not supported")));
    }
    spec.convert(host, kind, value)
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Day of the year from 0.
fn year_day(t: &LocalTime) -> u32 {
    const BEFORE: [u32; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let month = usize::from(t.month.clamp(1, 12));
    BEFORE[month - 1] + u32::from(month > 2 && is_leap(t.year)) + u32::from(t.day.max(1)) - 1
}

/// Day of the week, Sunday is 0. Source: Gauss's congruence for 1 January.
fn week_day(t: &LocalTime) -> u32 {
    let y = i64::from(t.year) - 1;
    let first = 1 + 5 * y.rem_euclid(4) + 4 * y.rem_euclid(100) + 6 * y.rem_euclid(400);
    (first as u32 + year_day(t)) % 7
}

/// C's `strftime` in the C locale, for the conversions that templates use.
pub(super) fn strftime(t: &LocalTime, format: &str) -> String {
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut kind = chars.next().unwrap_or('%');
        let is_unpadded = kind == '-';
        if is_unpadded {
            kind = chars.next().unwrap_or('%');
        }
        let text = time_field(t, kind);
        let trimmed = text.trim_start_matches(['0', ' ']);
        out.push_str(match (is_unpadded, trimmed) {
            (false, _) => &text,
            (true, "") => "0",
            (true, trimmed) => trimmed,
        });
    }
    out
}

fn time_field(t: &LocalTime, kind: char) -> String {
    let month = MONTHS[usize::from(t.month.clamp(1, 12)) - 1];
    let day = DAYS[week_day(t) as usize];
    let hour12 = (t.hour + 11) % 12 + 1;
    match kind {
        'Y' => t.year.to_string(),
        'y' => format!("{:02}", t.year.rem_euclid(100)),
        'm' => format!("{:02}", t.month),
        'd' => format!("{:02}", t.day),
        'e' => format!("{:2}", t.day),
        'H' => format!("{:02}", t.hour),
        'I' => format!("{hour12:02}"),
        'M' => format!("{:02}", t.minute),
        'S' => format!("{:02}", t.second),
        'f' => "000000".to_owned(),
        'p' => if t.hour < 12 { "AM" } else { "PM" }.to_owned(),
        'B' => month.to_owned(),
        'b' | 'h' => month[..3].to_owned(),
        'A' => day.to_owned(),
        'a' => day[..3].to_owned(),
        'j' => format!("{:03}", year_day(t) + 1),
        'w' => week_day(t).to_string(),
        'u' => ((week_day(t) + 6) % 7 + 1).to_string(),
        'F' => strftime(t, "%Y-%m-%d"),
        'T' | 'X' => strftime(t, "%H:%M:%S"),
        'R' => strftime(t, "%H:%M"),
        'D' | 'x' => strftime(t, "%m/%d/%y"),
        'c' => strftime(t, "%a %b %e %H:%M:%S %Y"),
        'n' => "\n".to_owned(),
        't' => "\t".to_owned(),
        '%' => "%".to_owned(),
        'z' | 'Z' => String::new(),
        other => format!("%{other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(year: i32, month: u8, day: u8, format: &str, expected: &str) {
        let t = LocalTime { year, month, day, hour: 15, minute: 4, second: 5 };
        assert_eq!(strftime(&t, format), expected);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        check(2026, 11, 22, "%A %d %b %Y", "Sunday 22 Nov 2026");
        check(2024, 2, 29, "%a %j %-d/%-m/%y", "Thu 060 29/2/24");
        check(2000, 1, 1, "%A %I:%M %p %F%%", "Saturday 03:04 PM 2000-01-01%");
        check(1999, 12, 31, "%w %u %-H %e", "5 5 15 31");
    }
}
