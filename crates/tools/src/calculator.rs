//! Arithmetic: exact fractions as long as they fit into 128 bits, and floating point beyond.

use serde_json::json;

use lucid_policy::{ArgumentSpec, Effect, Role, SourceKind};

use crate::Grant;
use crate::tool::{Arguments, Outcome, Setting, Tool, ToolCard, ToolError};

/// Bytes of an expression.
const BYTES_MAX: usize = 4096;
/// How deep brackets, signs and powers may be nested.
const DEPTH_MAX: usize = 64;
/// Significant digits of a result that is not exact.
const DIGITS: usize = 15;

/// Computes an expression.
#[derive(Clone, Debug)]
pub struct Calculator(ToolCard);

impl Default for Calculator {
    fn default() -> Self {
        Self(ToolCard {
            policy: lucid_policy::Tool {
                name: "calculator".to_owned(),
                effect: Effect::None,
                arguments: vec![ArgumentSpec {
                    name: "expression".to_owned(),
                    role: Role::Content,
                    optional: false,
                }],
            },
            description: "computes an expression such as (3 + 4.5) * 2^10 / sqrt(2)".to_owned(),
            parameters: json!({
                "type": "object",
                "properties": {"expression": {"type": "string"}},
                "required": ["expression"],
                "additionalProperties": false,
            }),
            source: SourceKind::Computed,
        })
    }
}

impl Tool for Calculator {
    fn card(&self) -> &ToolCard {
        &self.0
    }

    fn call(
        &self,
        _grant: Grant,
        arguments: &Arguments,
        _setting: &Setting<'_>,
    ) -> Result<Outcome, ToolError> {
        evaluate(ToolError::text(arguments, "expression")?).map(Outcome::text)
    }
}

/// The value of an expression, as it is written.
///
/// # Errors
/// It is none, or has no value; the message says where.
pub fn evaluate(expression: &str) -> Result<String, ToolError> {
    if expression.len() > BYTES_MAX {
        let reason = format!("it has {} bytes, and at most {BYTES_MAX} are read", expression.len());
        return Err(wrong(reason));
    }
    let mut reader = Reader { text: expression, at: 0, depth: 0, functions: 0 };
    let value = reader.sum()?;
    match reader.peek() {
        None => value.written(),
        Some(c) => Err(reader.unexpected(c)),
    }
}

fn wrong(reason: impl Into<String>) -> ToolError {
    ToolError::argument("expression", reason)
}

#[derive(Clone, Copy, Debug)]
enum Number {
    /// A fraction in lowest terms; the denominator is positive.
    Exact(i128, i128),
    Float(f64),
}

use Number::{Exact, Float};

fn gcd(a: i128, b: i128) -> i128 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    // Only of two least numbers it is 2^127; then nothing is shortened.
    i128::try_from(a).unwrap_or(1).max(1)
}

impl Number {
    fn fraction(numerator: i128, denominator: i128) -> Option<Self> {
        let common = gcd(numerator, denominator);
        let (numerator, denominator) = (numerator / common, denominator / common);
        match denominator {
            0 => None,
            1.. => Some(Exact(numerator, denominator)),
            _ => Some(Exact(numerator.checked_neg()?, denominator.checked_neg()?)),
        }
    }

    fn float(self) -> f64 {
        match self {
            Exact(numerator, denominator) => numerator as f64 / denominator as f64,
            Float(value) => value,
        }
    }

    fn both(
        self,
        other: Self,
        exact: impl Fn(i128, i128, i128, i128) -> Option<(i128, i128)>,
        float: impl Fn(f64, f64) -> f64,
    ) -> Self {
        if let (Exact(a, b), Exact(c, d)) = (self, other)
            && let Some(result) = exact(a, b, c, d).and_then(|(n, d)| Self::fraction(n, d))
        {
            return result;
        }
        Float(float(self.float(), other.float()))
    }

    fn add(self, other: Self) -> Self {
        let exact = |a: i128, b: i128, c: i128, d: i128| {
            Some((a.checked_mul(d)?.checked_add(c.checked_mul(b)?)?, b.checked_mul(d)?))
        };
        self.both(other, exact, |x, y| x + y)
    }

    fn negated(self) -> Self {
        match self {
            Exact(a, b) => a.checked_neg().map_or(Float(-self.float()), |a| Exact(a, b)),
            Float(value) => Float(-value),
        }
    }

    fn multiply(self, other: Self) -> Self {
        let exact =
            |a: i128, b: i128, c: i128, d: i128| Some((a.checked_mul(c)?, b.checked_mul(d)?));
        self.both(other, exact, |x, y| x * y)
    }

    fn is_zero(self) -> bool {
        match self {
            Exact(numerator, _) => numerator == 0,
            Float(value) => value == 0.0,
        }
    }

    fn divide(self, other: Self) -> Result<Self, ToolError> {
        if other.is_zero() {
            return Err(wrong("it divides by zero"));
        }
        let exact =
            |a: i128, b: i128, c: i128, d: i128| Some((a.checked_mul(d)?, b.checked_mul(c)?));
        Ok(self.both(other, exact, |x, y| x / y))
    }

    /// The remainder with the sign of the divisor, as people count on a clock.
    fn remainder(self, other: Self) -> Result<Self, ToolError> {
        let turns = self.divide(other)?.rounded(f64::floor, i128::div_euclid);
        Ok(self.add(other.multiply(turns).negated()))
    }

    fn rounded(self, float: fn(f64) -> f64, exact: fn(i128, i128) -> i128) -> Self {
        match self {
            Exact(a, b) => Exact(exact(a, b), 1),
            Float(value) => Float(float(value)),
        }
    }

    fn power(self, other: Self) -> Self {
        if let (Exact(a, b), Exact(times, 1)) = (self, other)
            && let Ok(count) = u32::try_from(times.unsigned_abs())
            && let (Some(a), Some(b)) = (a.checked_pow(count), b.checked_pow(count))
            && let Some(result) =
                if times < 0 { Self::fraction(b, a) } else { Self::fraction(a, b) }
        {
            return result;
        }
        Float(self.float().powf(other.float()))
    }

    /// As it is written: exact where its decimals end.
    fn written(self) -> Result<String, ToolError> {
        let value = match self {
            Exact(numerator, 1) => return Ok(numerator.to_string()),
            Exact(numerator, denominator) => {
                if let Some(text) = decimals(numerator, denominator) {
                    return Ok(text);
                }
                self.float()
            }
            Float(value) => value,
        };
        if value.is_nan() {
            return Err(wrong("it has no value among the real numbers"));
        }
        if value.is_infinite() {
            return Err(wrong("its value is too large"));
        }
        let short = format!("{value:.*e}", DIGITS - 1);
        let rounded: f64 = short.parse().unwrap_or(value);
        let size = rounded.abs();
        let plain = size == 0.0 || (1e-6..1e21).contains(&size);
        Ok(if plain { format!("{rounded}") } else { format!("{rounded:e}") })
    }
}

/// A fraction whose decimals end soon.
fn decimals(numerator: i128, denominator: i128) -> Option<String> {
    const PLACES_MAX: usize = 20;
    let (mut rest, whole) = (numerator.unsigned_abs(), denominator.unsigned_abs());
    let mut text = String::from(if numerator < 0 { "-" } else { "" });
    text.push_str(&(rest / whole).to_string());
    text.push('.');
    rest %= whole;
    for _ in 0..PLACES_MAX {
        rest = rest.checked_mul(10)?;
        text.push(char::from(b'0' + (rest / whole) as u8));
        rest %= whole;
        if rest == 0 {
            return Some(text);
        }
    }
    None
}

/// Reads and computes at once. Invariant: `at` is the boundary of a character.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// Functions whose arguments are being read: a comma parts them, not thousands.
    functions: usize,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed.chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn unexpected(&self, c: char) -> ToolError {
        wrong(format!("`{c}` does not fit at character {}", self.place()))
    }

    fn place(&self) -> usize {
        self.text[..self.at].chars().count() + 1
    }

    fn sum(&mut self) -> Result<Number, ToolError> {
        let mut value = self.product()?;
        loop {
            if self.take('+') {
                value = value.add(self.product()?);
            } else if self.take('-') || self.take('\u{2212}') {
                value = value.add(self.product()?.negated());
            } else {
                return Ok(value);
            }
        }
    }

    fn product(&mut self) -> Result<Number, ToolError> {
        let mut value = self.signed()?;
        loop {
            if self.text[self.at..].trim_start().starts_with("**") {
                return Ok(value);
            }
            if self.take('*') || self.take('\u{d7}') || self.take('\u{b7}') {
                value = value.multiply(self.signed()?);
            } else if self.take('/') || self.take('\u{f7}') {
                value = value.divide(self.signed()?)?;
            } else if self.take('%') {
                value = value.remainder(self.signed()?)?;
            } else {
                return Ok(value);
            }
        }
    }

    /// A sign binds less than a power: -2^2 is -4.
    fn signed(&mut self) -> Result<Number, ToolError> {
        self.deeper()?;
        let value = if self.take('-') || self.take('\u{2212}') {
            self.signed()?.negated()
        } else if self.take('+') {
            self.signed()?
        } else {
            self.power()?
        };
        self.depth -= 1;
        Ok(value)
    }

    fn power(&mut self) -> Result<Number, ToolError> {
        let base = self.atom()?;
        let stars = self.peek() == Some('*') && self.text[self.at..].starts_with("**");
        if stars {
            self.at += 2;
        }
        // From the right: 2^3^2 is 2^9.
        if stars || self.take('^') { Ok(base.power(self.signed()?)) } else { Ok(base) }
    }

    fn deeper(&mut self) -> Result<(), ToolError> {
        self.depth += 1;
        if self.depth <= DEPTH_MAX {
            return Ok(());
        }
        Err(wrong(format!("it is nested more than {DEPTH_MAX} deep")))
    }

    fn atom(&mut self) -> Result<Number, ToolError> {
        match self.peek() {
            None => Err(wrong("it ends too early")),
            Some('(') => {
                self.take('(');
                let value = self.sum()?;
                self.close()?;
                Ok(value)
            }
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some(c) if c.is_ascii_alphabetic() || c == '\u{3c0}' => self.named(),
            Some(c) => Err(self.unexpected(c)),
        }
    }

    fn close(&mut self) -> Result<(), ToolError> {
        if self.take(')') {
            return Ok(());
        }
        Err(match self.peek() {
            Some(c) => self.unexpected(c),
            None => wrong("a bracket is not closed"),
        })
    }

    /// Digits with an optional point and exponent; `1,000` and `1_000` are a thousand.
    fn number(&mut self) -> Result<Number, ToolError> {
        let rest = &self.text[self.at..];
        let bytes = rest.as_bytes();
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        let mut len = 0;
        loop {
            let three = || digit(len + 1) && digit(len + 2) && digit(len + 3) && !digit(len + 4);
            match bytes.get(len) {
                Some(b'0'..=b'9' | b'.') => len += 1,
                Some(b',') if self.functions == 0 && three() => len += 1,
                Some(b'_') if digit(len + 1) => len += 1,
                Some(b'e' | b'E') if digit(len + 1) => len += 2,
                Some(b'e' | b'E')
                    if matches!(bytes.get(len + 1), Some(b'+' | b'-')) && digit(len + 2) =>
                {
                    len += 3;
                }
                _ => break,
            }
        }
        let text: String = rest[..len].chars().filter(|c| !matches!(c, ',' | '_')).collect();
        let value = exact_number(&text).or_else(|| text.parse().ok().map(Float));
        let value = value.ok_or_else(|| {
            wrong(format!("`{}` at character {} is no number", &rest[..len], self.place()))
        })?;
        self.at += len;
        Ok(value)
    }

    fn named(&mut self) -> Result<Number, ToolError> {
        let place = self.place();
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        let name = &rest[..end];
        self.at += end;
        match name {
            "pi" | "\u{3c0}" => return Ok(Float(std::f64::consts::PI)),
            "e" => return Ok(Float(std::f64::consts::E)),
            _ => {}
        }
        if !self.take('(') {
            return Err(wrong(format!("`{name}` at character {place} is not known")));
        }
        self.functions += 1;
        let mut values = vec![self.sum()?];
        while self.take(',') || self.take(';') {
            values.push(self.sum()?);
        }
        self.close()?;
        self.functions -= 1;
        function(name, &values).ok_or_else(|| {
            wrong(format!("`{name}` of {} at character {place} is not known", values.len()))
        })?
    }
}

fn exact_number(text: &str) -> Option<Number> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{fraction}");
    let numerator: i128 = digits.parse().ok()?;
    Number::fraction(numerator, 10i128.checked_pow(fraction.len() as u32)?)
}

fn function(name: &str, values: &[Number]) -> Option<Result<Number, ToolError>> {
    let least = |a: Number, b: Number| if b.float() < a.float() { b } else { a };
    let most = |a: Number, b: Number| if b.float() > a.float() { b } else { a };
    let value = match (name, values) {
        ("min", [first, rest @ ..]) => rest.iter().copied().fold(*first, least),
        ("max", [first, rest @ ..]) => rest.iter().copied().fold(*first, most),
        ("gcd", [Exact(a, 1), Exact(b, 1)]) => Exact(gcd(*a, *b), 1),
        ("log", [value, base]) => Float(value.float().log(base.float())),
        (_, [value]) => return one(name, *value).map(Ok),
        _ => return None,
    };
    Some(Ok(value))
}

fn one(name: &str, value: Number) -> Option<Number> {
    let float = |function: fn(f64) -> f64| Float(function(value.float()));
    Some(match name {
        "sqrt" => square_root(value),
        "abs" if value.float() < 0.0 => value.negated(),
        "abs" => value,
        "floor" => value.rounded(f64::floor, i128::div_euclid),
        "ceil" => value.negated().rounded(f64::floor, i128::div_euclid).negated(),
        "round" => {
            let half = if value.float() < 0.0 { Exact(-1, 2) } else { Exact(1, 2) };
            value.add(half).rounded(f64::trunc, |a, b| a / b)
        }
        "exp" => float(f64::exp),
        "ln" => float(f64::ln),
        "log" | "log10" => float(f64::log10),
        "log2" => float(f64::log2),
        "sin" => float(f64::sin),
        "cos" => float(f64::cos),
        "tan" => float(f64::tan),
        "asin" => float(f64::asin),
        "acos" => float(f64::acos),
        "atan" => float(f64::atan),
        _ => return None,
    })
}

fn square_root(value: Number) -> Number {
    if let Exact(a, b) = value
        && a >= 0
    {
        let (root_a, root_b) = (a.isqrt(), b.isqrt());
        if root_a * root_a == a && root_b * root_b == b {
            return Exact(root_a, root_b);
        }
    }
    Float(value.float().sqrt())
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use lucid_policy::{Call, Capability, Label, Subject, decide};

    use super::*;

    /// A grant for a tool that has no effect and is called without arguments.
    pub(crate) fn granted(tool: &dyn Tool) -> Grant {
        let spec = lucid_policy::Tool { arguments: Vec::new(), ..tool.card().policy.clone() };
        let capabilities = [Capability::plain(&spec.name)];
        let label = Label::unlimited();
        let call = Call { tool: &spec, arguments: &[] };
        decide(&Subject { label: &label, capabilities: &capabilities }, &call).grant(&call).unwrap()
    }

    fn check(cases: &[(&str, &str)]) {
        for (expression, want) in cases {
            assert_eq!(evaluate(expression).as_deref(), Ok(*want), "{expression}");
        }
    }

    #[test]
    fn whole_numbers_and_decimals_are_exact() {
        check(&[
            ("2+3*4", "14"),
            ("(2+3)*4", "20"),
            ("0.1 + 0.2", "0.3"),
            ("1/3*3", "1"),
            ("1/8", "0.125"),
            ("-1/8", "-0.125"),
            ("7 / 2", "3.5"),
            ("999999*999999", "999998000001"),
            ("2^100", "1267650600228229401496703205376"),
            ("2**10", "1024"),
            ("2^-2", "0.25"),
            ("2^3^2", "512"),
            ("-2^2", "-4"),
            ("(-2)^2", "4"),
            ("7 % 3", "1"),
            ("-7 % 3", "2"),
            ("7.5 % 2", "1.5"),
            ("1,234,567 + 1", "1234568"),
            ("1_000", "1000"),
            ("max(2,100) + min(1,234)", "101"),
            ("1e3", "1000"),
            ("6 \u{d7} 7 \u{2212} 2 \u{f7} 1", "40"),
            ("sqrt(16)", "4"),
            ("sqrt(0.25)", "0.5"),
            ("min(3, 1, 2) + max(4; 5)", "6"),
            ("round(2.5) + round(-2.5) + floor(-0.5) + ceil(0.5)", "0"),
            ("gcd(12, 18)", "6"),
            ("abs(-3/4)", "0.75"),
            ("--3", "3"),
        ]);
    }

    #[test]
    fn others_have_fifteen_digits() {
        check(&[
            ("1/3", "0.333333333333333"),
            ("sqrt(2)", "1.4142135623731"),
            ("2*pi", "6.28318530717959"),
            ("log(8, 2)", "3"),
            ("log(1000)", "3"),
            ("1e30/7", "1.42857142857143e29"),
            ("10^40", "1e40"),
        ]);
    }

    #[test]
    fn what_has_no_value_says_why() {
        let cases = [
            ("", "it ends too early"),
            ("1 +", "it ends too early"),
            ("1/0", "it divides by zero"),
            ("5 % 0", "it divides by zero"),
            ("(1", "a bracket is not closed"),
            ("1)", "`)` does not fit at character 2"),
            ("2 x 3", "`x` does not fit at character 3"),
            ("cube(2)", "`cube` of 1 at character 1 is not known"),
            ("tau", "`tau` at character 1 is not known"),
            ("1.2.3", "`1.2.3` at character 1 is no number"),
            ("sqrt(-1)", "it has no value among the real numbers"),
            ("10^400", "its value is too large"),
        ];
        for (expression, reason) in cases {
            let want = ToolError::argument("expression", reason);
            assert_eq!(evaluate(expression), Err(want), "{expression}");
        }
        assert!(evaluate(&"(".repeat(4000)).is_err());
        assert!(evaluate(&"1+".repeat(4000)).is_err());
    }

    proptest! {
        #[test]
        fn operands_of_six_digits_are_exact(a in 0..1_000_000i128, b in 1..1_000_000i128) {
            prop_assert_eq!(evaluate(&format!("{a}+{b}")).unwrap(), (a + b).to_string());
            prop_assert_eq!(evaluate(&format!("{a}-{b}")).unwrap(), (a - b).to_string());
            prop_assert_eq!(evaluate(&format!("{a}*{b}")).unwrap(), (a * b).to_string());
            prop_assert_eq!(evaluate(&format!("{a}/{b}*{b}")).unwrap(), a.to_string());
        }

        #[test]
        fn nothing_makes_it_panic(text in "[0-9a-z+*/^%(),. e\u{3c0}-]{0,40}") {
            let _ = evaluate(&text);
        }
    }
}
