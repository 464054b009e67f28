//! Rotary positions in `config.json`. Two generations of transformers write them differently: up to
//! version 4 `rope_theta`, `rope_scaling`, `rope_local_base_freq`; from version 5
//! `rope_parameters`, one object or one for each kind of layer. Source: transformers'
//! `modeling_rope_utils.py`; for the table of factors also llama.cpp's converter.

use super::json::Object;
use crate::CheckpointError;
use lucid_tensor::{MetaValue, Metadata};
use std::f64::consts::TAU;

/// Half of the widest head that makes sense; bounds the table of factors.
const PAIRS_MAX: u64 = 1 << 15;

/// How positions rotate, from either generation.
#[derive(Debug)]
pub(crate) struct Rope {
    pub(crate) theta: Option<f64>,
    /// The base of layers with a window, where it differs.
    pub(crate) theta_windowed: Option<f64>,
    /// The part of a head's dimensions that rotates.
    pub(crate) partial: Option<f64>,
    scaling: Option<Object>,
}

impl Rope {
    pub(crate) fn read(config: &Object) -> Result<Self, CheckpointError> {
        let Some(parameters) = config.object("rope_parameters")? else {
            return Ok(Self {
                theta: config.float("rope_theta")?,
                theta_windowed: config.float("rope_local_base_freq")?,
                partial: config.float("partial_rotary_factor")?,
                scaling: config.object("rope_scaling")?,
            });
        };
        let windowed = parameters.object("sliding_attention")?;
        let (global, theta_windowed) = match parameters.object("full_attention")? {
            Some(global) => {
                (global, windowed.map(|w| w.float("rope_theta")).transpose()?.flatten())
            }
            None => (parameters, config.float("rope_local_base_freq")?),
        };
        let (theta, partial) =
            (global.float("rope_theta")?, global.float("partial_rotary_factor")?);
        Ok(Self {
            theta: theta.or(config.float("rope_theta")?),
            theta_windowed,
            partial: partial.or(config.float("partial_rotary_factor")?),
            scaling: Some(global),
        })
    }

    /// Sets the keys of the scaling; returns the table of factors of llama-3 scaling, one for each
    /// pair of `dims`.
    pub(crate) fn scaling(
        &self,
        prefix: &str,
        theta: f64,
        dims: u64,
        into: &mut Metadata,
    ) -> Result<Option<Vec<f32>>, CheckpointError> {
        let Some(scaling) = &self.scaling else { return Ok(None) };
        let kind = scaling.text("rope_type")?.or(scaling.text("type")?).unwrap_or("default");
        let mut put = |name: &str, key: &str, value: MetaValue| {
            into.insert(format!("{prefix}.rope.scaling.{name}"), value, Some(scaling.offset(key)));
        };
        match kind {
            "default" | "none" => Ok(None),
            "llama3" => llama3(scaling, theta, dims).map(Some),
            "linear" | "yarn" => {
                let factor = positive(scaling, "factor", None)?;
                put("type", "rope_type", MetaValue::Text(kind.to_owned()));
                put("factor", "factor", MetaValue::Float(factor));
                if kind == "linear" {
                    return Ok(None);
                }
                let original = "original_max_position_embeddings";
                if let Some(length) = scaling.unsigned(original)? {
                    put("original_context_length", original, MetaValue::Unsigned(length));
                }
                for (name, key) in [
                    ("attn_factor", "attention_factor"),
                    ("yarn_beta_fast", "beta_fast"),
                    ("yarn_beta_slow", "beta_slow"),
                ] {
                    if let Some(value) = scaling.float(key)? {
                        put(name, key, MetaValue::Float(value));
                    }
                }
                Ok(None)
            }
            other => {
                let expected = "default, linear, llama3 or yarn";
                Err(scaling.refuse("rope_type", expected, &crate::cursor::brief(other)))
            }
        }
    }
}

fn positive(from: &Object, key: &str, default: Option<f64>) -> Result<f64, CheckpointError> {
    let value = from.float(key)?.or(default);
    match value {
        Some(value) if value > 0.0 && value.is_finite() => Ok(value),
        Some(value) => Err(from.refuse(key, "a positive number", &value.to_string())),
        None => Err(from.missing(key, "a positive number")),
    }
}

/// Llama 3: long wavelengths are stretched by `factor`, short ones kept, those between blended.
fn llama3(scaling: &Object, theta: f64, dims: u64) -> Result<Vec<f32>, CheckpointError> {
    let factor = positive(scaling, "factor", Some(8.0))?;
    let low = positive(scaling, "low_freq_factor", Some(1.0))?;
    let high = positive(scaling, "high_freq_factor", Some(4.0))?;
    let original = positive(scaling, "original_max_position_embeddings", Some(8192.0))?;
    if high <= low {
        let expected = "more than low_freq_factor";
        return Err(scaling.refuse("high_freq_factor", expected, &high.to_string()));
    }
    let pairs = dims / 2;
    if pairs == 0 || pairs > PAIRS_MAX {
        let expected = format!("heads of 2 to {} dimensions", 2 * PAIRS_MAX);
        return Err(scaling.refuse("rope_type", &expected, &dims.to_string()));
    }
    let (longest_kept, shortest_stretched) = (original / high, original / low);
    let factor_of = |pair: u64| {
        let wavelength = TAU * theta.powf(2.0 * pair as f64 / dims as f64);
        if wavelength < longest_kept {
            1.0
        } else if wavelength > shortest_stretched {
            factor
        } else {
            let smooth = (original / wavelength - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    };
    Ok((0..pairs).map(|pair| factor_of(pair) as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn both_generations_and_every_kind() {
        let check = |json: &str, theta: f64, windowed: Option<f64>, scaling: &[&str]| {
            let config = Object::parse(Path::new("config.json"), json.as_bytes()).unwrap();
            let rope = Rope::read(&config).unwrap();
            assert_eq!((rope.theta, rope.theta_windowed), (Some(theta), windowed), "{json}");
            let mut metadata = Metadata::default();
            rope.scaling("x", theta, 64, &mut metadata).unwrap();
            let keys: Vec<&str> = metadata.iter().map(|(key, _)| key).collect();
            assert_eq!(keys, scaling, "{json}");
        };
        check(r#"{"rope_theta": 5e5}"#, 5e5, None, &[]);
        check(r#"{"rope_theta": 1, "rope_scaling": null}"#, 1.0, None, &[]);
        let linear = ["x.rope.scaling.factor", "x.rope.scaling.type"];
        check(
            r#"{"rope_theta": 1, "rope_scaling": {"type": "linear", "factor": 4}}"#,
            1.0,
            None,
            &linear,
        );
        check(r#"{"rope_parameters": {"rope_theta": 2, "rope_type": "default"}}"#, 2.0, None, &[]);
        check(
            r#"{"rope_parameters": {"full_attention": {"rope_theta": 3,
                "rope_type": "linear", "factor": 8},
                "sliding_attention": {"rope_theta": 4, "rope_type": "default"}}}"#,
            3.0,
            Some(4.0),
            &linear,
        );
        let refused = r#"{"rope_theta": 1, "rope_scaling": {"type": "dynamic", "factor": 4}}"#;
        let config = Object::parse(Path::new("config.json"), refused.as_bytes()).unwrap();
        let rope = Rope::read(&config).unwrap();
        let error = rope.scaling("x", 1.0, 64, &mut Metadata::default()).unwrap_err().to_string();
        assert!(error.contains("dynamic") && error.contains("config.json"), "{error}");
    }

    /// Llama 3.2 1B: the ends of the table are exact, the middle lies between.
    #[test]
    fn llama3_factors() {
        let json = r#"{"rope_scaling": {"rope_type": "llama3", "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}"#;
        let config = Object::parse(Path::new("config.json"), json.as_bytes()).unwrap();
        let rope = Rope::read(&config).unwrap();
        let table = rope.scaling("x", 500_000.0, 64, &mut Metadata::default()).unwrap().unwrap();
        assert_eq!(table.len(), 32);
        assert_eq!((table[0], table[31]), (1.0, 32.0));
        assert!(table.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(table.iter().any(|&f| f > 1.0 && f < 32.0));
    }
}
