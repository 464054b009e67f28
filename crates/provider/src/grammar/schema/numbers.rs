//! Bounds of numbers. llguidance computes with `f64`, so a bound that none holds exactly moves
//! inwards to the next one that does.

use serde_json::{Number, Value, json};

use super::{Object, Place};
use crate::ProviderError;

/// The largest `f64` below 2^63.
const INTEGER_MAX: i128 = 9_223_372_036_854_774_784;

/// The largest integer up to which `f64` holds all.
const EXACT_MAX: i128 = 1 << 53;

/// Where numbers without a bound end.
const NUMBER_MAX: f64 = 1e15;

/// The largest bound of a number that is taken.
const BOUND_MAX: f64 = 1e18;

/// Any number.
pub(super) fn any() -> Value {
    json!({"type": "number", "minimum": -NUMBER_MAX, "maximum": NUMBER_MAX})
}

/// Constants are compared as `f64`: one that is no `f64` would become another one.
pub(super) fn check_constant(
    value: &Value,
    place: &Place,
    keyword: &str,
) -> Result<(), ProviderError> {
    match value {
        Value::Number(number) => {
            let exact = match whole(number) {
                Some(whole) => whole.abs() <= INTEGER_MAX && (whole as f64) as i128 == whole,
                None => number.as_f64().is_some_and(|value| value.abs() <= BOUND_MAX),
            };
            let reason = "cannot be held as a 64-bit floating-point number";
            if exact { Ok(()) } else { Err(place.refuse(keyword, &format!("{number} {reason}"))) }
        }
        Value::Array(values) => {
            values.iter().try_for_each(|value| check_constant(value, place, keyword))
        }
        Value::Object(members) => {
            members.values().try_for_each(|value| check_constant(value, place, keyword))
        }
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

/// The schemas of integers: below zero and from zero on, for `-0` is none to most readers.
pub(super) fn integers(schema: &Object, place: &Place) -> Result<Vec<Object>, ProviderError> {
    // Readers divide in `f64`.
    let open = if schema.contains_key("multipleOf") { EXACT_MAX } else { INTEGER_MAX };
    let (mut least, mut most) = (-INTEGER_MAX, INTEGER_MAX);
    let (mut is_least, mut is_most) = (false, false);
    for (key, number, exclusive) in bounds(schema, place)? {
        let below = key.ends_with("inimum");
        let bound = if let Some(whole) = whole(&number) {
            whole + i128::from(exclusive) * if below { 1 } else { -1 }
        } else {
            let value = number.as_f64().unwrap_or(0.0);
            // No integer is excluded by a bound between integers.
            if below { value.ceil() as i128 } else { value.floor() as i128 }
        };
        if below {
            (least, is_least) = (least.max(inwards(bound, 1)), true);
        } else {
            (most, is_most) = (most.min(inwards(bound, -1)), true);
        }
    }
    if !is_least && most >= -open {
        least = -open;
    }
    if !is_most && least <= open {
        most = open;
    }
    if least > most {
        return Err(place.refuse("minimum", "no integer lies between the bounds"));
    }
    let mut parts = Vec::new();
    for (least, most) in [(least, most.min(-1)), (least.max(0), most)] {
        if least > most {
            continue;
        }
        let mut part = Object::from_iter([("type".to_owned(), json!(["integer"]))]);
        part.insert("minimum".to_owned(), json!(least as i64));
        part.insert("maximum".to_owned(), json!(most as i64));
        multiple(schema, place, &mut part)?;
        parts.push(part);
    }
    Ok(parts)
}

/// The keywords of numbers.
pub(super) fn numbers(
    schema: &Object,
    place: &Place,
    prepared: &mut Object,
) -> Result<(), ProviderError> {
    let (mut least, mut most) = (None, None);
    for (key, number, exclusive) in bounds(schema, place)? {
        let below = key.ends_with("inimum");
        let value = exactly(&number, below);
        if value.abs() > BOUND_MAX {
            let outward = (value < 0.0) == below;
            if outward {
                continue;
            }
            return Err(place.refuse(key, &format!("at most {BOUND_MAX:e} is taken")));
        }
        let tighter = |known: Option<(f64, bool)>| match known {
            Some((known, _)) if known == value => Some((value, exclusive)),
            Some((known, _)) if (known > value) == below => None,
            _ => Some((value, exclusive)),
        };
        let bound = if below { &mut least } else { &mut most };
        *bound = tighter(*bound).or(*bound);
    }
    let wide = |other: Option<(f64, bool)>| {
        let other = other.map_or(0.0, |(other, _)| other.abs());
        if other < NUMBER_MAX { NUMBER_MAX } else { 2.0 * BOUND_MAX }
    };
    let (least, most) =
        (least.unwrap_or((-wide(most), false)), most.unwrap_or((wide(least), false)));
    if least.0 > most.0 || least.0 == most.0 && (least.1 || most.1) {
        return Err(place.refuse("minimum", "no number lies between the bounds"));
    }
    let key = |exclusive, inclusive: &str, other: &str| {
        if exclusive { other.to_owned() } else { inclusive.to_owned() }
    };
    prepared.insert(key(least.1, "minimum", "exclusiveMinimum"), json!(least.0));
    prepared.insert(key(most.1, "maximum", "exclusiveMaximum"), json!(most.0));
    multiple(schema, place, prepared)
}

type Bound = (&'static str, Number, bool);

/// The bounds of a schema: keyword, number, whether the number itself is excluded.
fn bounds(schema: &Object, place: &Place) -> Result<Vec<Bound>, ProviderError> {
    let mut bounds = Vec::new();
    for (key, exclusive_key) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
        // Draft 4 says by a boolean whether the bound itself is excluded.
        let excluded = schema.get(exclusive_key) == Some(&Value::Bool(true));
        for (key, exclusive) in [(key, excluded), (exclusive_key, true)] {
            match schema.get(key) {
                None => {}
                Some(Value::Bool(_)) if key == exclusive_key => {}
                Some(Value::Number(number)) => bounds.push((key, number.clone(), exclusive)),
                Some(_) => return Err(place.refuse(key, "expected a number")),
            }
        }
    }
    Ok(bounds)
}

fn multiple(schema: &Object, place: &Place, prepared: &mut Object) -> Result<(), ProviderError> {
    let Some(multiple) = schema.get("multipleOf") else { return Ok(()) };
    match multiple.as_f64() {
        Some(value) if (1e-9..=1e9).contains(&value) => {
            prepared.insert("multipleOf".to_owned(), multiple.clone());
            Ok(())
        }
        _ => Err(place.refuse("multipleOf", "expected a number from 1e-9 to 1e9")),
    }
}

/// A number without a fraction.
fn whole(number: &Number) -> Option<i128> {
    let integer = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
    integer.or_else(|| {
        let value = number.as_f64().filter(|value| value.fract() == 0.0)?;
        (value.abs() < 1e30).then_some(value as i128)
    })
}

/// The next integer that an `f64` holds, in this direction, within what is taken.
fn inwards(bound: i128, direction: i128) -> i128 {
    let mut bound = bound.clamp(-INTEGER_MAX, INTEGER_MAX);
    // The gap between neighbours below 2^63 is at most 2^10.
    while (bound as f64) as i128 != bound {
        bound += direction;
    }
    bound.clamp(-INTEGER_MAX, INTEGER_MAX)
}

/// The `f64` of a bound, moved inwards where it is none.
fn exactly(number: &Number, below: bool) -> f64 {
    match whole(number) {
        Some(whole) if whole.abs() < INTEGER_MAX => {
            inwards(whole, if below { 1 } else { -1 }) as f64
        }
        _ => number.as_f64().unwrap_or(0.0),
    }
}
