//! Which layers see only a window of the context, from `config.json` to `attention.sliding_window`
//! and `attention.sliding_window_pattern`.
//!
//! The pattern, where layers differ, is either a period p, of which the last layer sees everything
//! (0: none does), or an array of bools, true for a layer with a window. Without a pattern the
//! window holds for all layers.

use super::family::Family;
use super::json::Object;
use crate::CheckpointError;
use lucid_tensor::{MetaArray, MetaValue, Metadata};
use serde_json::Value;

/// More layers than any model has; bounds the array that `max_window_layers` makes.
const LAYERS_MAX: u64 = 1 << 16;
/// Gemma 3's period.
const PERIOD_DEFAULT: u64 = 6;

/// Sets the keys of the window, if there is one.
pub(crate) fn read(
    config: &Object,
    family: Family,
    layer_count: u64,
    into: &mut Metadata,
) -> Result<(), CheckpointError> {
    let key = "sliding_window";
    let qwen = matches!(family, Family::Qwen2 | Family::Qwen3);
    let Some(window) = config.unsigned(key)? else { return Ok(()) };
    if qwen && !config.bool("use_sliding_window")?.unwrap_or(false) {
        return Ok(());
    }
    let Some(windowed) = windowed_layers(config, family, layer_count)? else {
        let offset = Some(config.offset(key));
        let name = family.name();
        let window = MetaValue::Unsigned(window);
        into.insert(format!("{name}.attention.sliding_window"), window, offset);
        if family == Family::Gemma3 {
            let period = config.unsigned("sliding_window_pattern")?;
            let period = period.or(config.unsigned("_sliding_window_pattern")?);
            let period = MetaValue::Unsigned(period.unwrap_or(PERIOD_DEFAULT));
            into.insert(format!("{name}.attention.sliding_window_pattern"), period, offset);
        }
        return Ok(());
    };
    if !windowed.contains(&true) {
        return Ok(());
    }
    let name = family.name();
    let offset = Some(config.offset(key));
    into.insert(format!("{name}.attention.sliding_window"), MetaValue::Unsigned(window), offset);
    if family == Family::Gemma3 || windowed.contains(&false) {
        let pattern = period_of(&windowed, config)?
            .map_or_else(|| MetaValue::Array(MetaArray::Bool(windowed)), MetaValue::Unsigned);
        let offset = Some(config.offset("layer_types"));
        into.insert(format!("{name}.attention.sliding_window_pattern"), pattern, offset);
    }
    Ok(())
}

/// For each layer whether it has a window; `None` where the configuration gives no list.
fn windowed_layers(
    config: &Object,
    family: Family,
    layer_count: u64,
) -> Result<Option<Vec<bool>>, CheckpointError> {
    let key = "layer_types";
    if let Some(types) = config.array(key)? {
        if types.len() as u64 != layer_count {
            let expected = format!("an array of {layer_count} texts, one for each layer");
            return Err(config.refuse(key, &expected, &format!("{} elements", types.len())));
        }
        let windowed = |kind: &Value| match kind.as_str() {
            Some("sliding_attention") => Ok(true),
            Some("full_attention") => Ok(false),
            _ => Err(config.wrong(key, "`sliding_attention` or `full_attention`", kind)),
        };
        return types.iter().map(windowed).collect::<Result<_, _>>().map(Some);
    }
    if !matches!(family, Family::Qwen2 | Family::Qwen3) {
        return Ok(None);
    }
    if layer_count > LAYERS_MAX {
        let expected = format!("at most {LAYERS_MAX} layers");
        return Err(config.refuse("num_hidden_layers", &expected, &layer_count.to_string()));
    }
    // The first of Qwen's layers see everything.
    let full = config.unsigned("max_window_layers")?.unwrap_or(28);
    Ok(Some((0..layer_count).map(|layer| layer >= full).collect()))
}

/// The period that describes the layers, if one does. The configuration's own comes first, then
/// Gemma's.
fn period_of(windowed: &[bool], config: &Object) -> Result<Option<u64>, CheckpointError> {
    let given = config.unsigned("sliding_window_pattern")?;
    let given = given.or(config.unsigned("_sliding_window_pattern")?);
    let first_full = windowed.iter().position(|w| !w).map_or(0, |layer| layer as u64 + 1);
    let fits = |period: &u64| {
        let is_full = |layer: u64| *period > 0 && (layer + 1).is_multiple_of(*period);
        (0u64..).zip(windowed).all(|(layer, &windowed)| windowed != is_full(layer))
    };
    let mut candidates = [given, Some(PERIOD_DEFAULT), Some(first_full)].into_iter().flatten();
    Ok(candidates.find(fits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn windows_of_every_family() {
        let check = |family: Family, json: &str, layers: u64, expected: &str| {
            let config = Object::parse(Path::new("config.json"), json.as_bytes()).unwrap();
            let mut metadata = Metadata::default();
            read(&config, family, layers, &mut metadata).unwrap();
            let found: Vec<String> = metadata
                .iter()
                .map(|(key, value)| format!("{}={value:?}", key.rsplit_once('.').unwrap().1))
                .collect();
            assert_eq!(found.join(" "), expected, "{json}");
        };
        let window = "sliding_window=Unsigned(9)";
        check(Family::Llama, r#"{"sliding_window": null}"#, 2, "");
        check(Family::Llama, r#"{"sliding_window": 9}"#, 2, window);
        check(Family::Qwen2, r#"{"sliding_window": 9}"#, 2, "");
        let qwen = r#"{"sliding_window": 9, "use_sliding_window": true, "max_window_layers": 1}"#;
        let pattern = "sliding_window_pattern=Array(Bool([false, true, true]))";
        check(Family::Qwen2, qwen, 3, &format!("{window} {pattern}"));
        let period = |n: u64| format!("{window} sliding_window_pattern=Unsigned({n})");
        check(Family::Gemma3, r#"{"sliding_window": 9}"#, 3, &period(6));
        let gemma = |list: &str| {
            let list =
                list.replace('s', "\"sliding_attention\"").replace('f', "\"full_attention\"");
            format!(r#"{{"sliding_window": 9, "layer_types": [{list}]}}"#)
        };
        check(Family::Gemma3, &gemma("s,s,f,s,s,f"), 6, &period(3));
        check(Family::Gemma3, &gemma("s,s,s"), 3, &period(6));
        check(Family::Gemma3, &gemma("s,s,s,s,s,s"), 6, &period(0));
        let irregular = "sliding_window_pattern=Array(Bool([true, false, false]))";
        check(Family::Gemma3, &gemma("s,f,f"), 3, &format!("{window} {irregular}"));
        check(Family::Qwen3, &gemma("f,f"), 2, "");
    }
}
