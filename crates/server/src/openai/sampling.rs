//! How tokens are chosen and what they must conform to: fields that chat completions, completions
//! and responses share, with those that llama.cpp's server and vLLM added.

use lucid_provider::{OutputFormat, Sampling};
use serde_json::Value;

use crate::json::{Fields, Node};
use crate::limits;
use crate::refusal::Refusal;

/// How tokens are chosen.
pub(crate) fn sampling(body: &mut Fields) -> Result<Sampling, Refusal> {
    let repeat = match body.number("repeat_penalty", limits::REPEAT_PENALTY)? {
        Some(penalty) => Some(penalty),
        None => body.number("repetition_penalty", limits::REPEAT_PENALTY)?,
    };
    Ok(Sampling {
        top_k: top_k(body)?,
        top_n_sigma: body.number("top_n_sigma", limits::SETTING)?,
        repeat_penalty: repeat,
        penalty_last_n: body.count("repeat_last_n", limits::LAST_N)?,
        dry_multiplier: body.number("dry_multiplier", limits::SETTING)?,
        dry_base: body.number("dry_base", limits::SETTING)?,
        dry_allowed_length: body.count("dry_allowed_length", limits::LAST_N)?,
        dry_last_n: body.count("dry_penalty_last_n", limits::LAST_N)?,
        dry_breakers: body.take("dry_sequence_breakers").map(texts).transpose()?,
        xtc_probability: body.number("xtc_probability", limits::PROBABILITY)?,
        xtc_threshold: body.number("xtc_threshold", limits::PROBABILITY)?,
        dynamic_temperature_range: body.number("dynatemp_range", limits::SETTING)?,
        logit_bias: logit_bias(body)?,
        seed: seed(body)?,
        ..common(body)?
    })
}

/// What Ollama's protocol has under the same names and within the same bounds.
pub(crate) fn common(body: &mut Fields) -> Result<Sampling, Refusal> {
    Ok(Sampling {
        temperature: body.number("temperature", limits::TEMPERATURE)?,
        top_p: body.number("top_p", limits::PROBABILITY)?,
        min_p: body.number("min_p", limits::PROBABILITY)?,
        typical_p: body.number("typical_p", limits::PROBABILITY)?,
        frequency_penalty: body.number("frequency_penalty", limits::PENALTY)?,
        presence_penalty: body.number("presence_penalty", limits::PENALTY)?,
        ..Sampling::default()
    })
}

/// vLLM says -1 for off, llama.cpp 0.
fn top_k(body: &mut Fields) -> Result<Option<usize>, Refusal> {
    match body.take("top_k") {
        Some(node) if node.value.as_i64() == Some(-1) => Ok(Some(0)),
        Some(node) => node.whole(limits::TOP_K).map(|count| Some(count as usize)),
        None => Ok(None),
    }
}

/// A seed may be negative in OpenAI's protocol. -1 is none for llama.cpp, and one as good as any
/// other here.
pub(crate) fn seed(body: &mut Fields) -> Result<Option<u64>, Refusal> {
    match body.take("seed") {
        Some(node) => match node.value.as_i64() {
            Some(seed) => Ok(Some(seed as u64)),
            None => node.whole(limits::SEED).map(Some),
        },
        None => Ok(None),
    }
}

/// `{"TOKEN": BIAS}`. -100 bans a token, as OpenAI has it.
fn logit_bias(body: &mut Fields) -> Result<Vec<(u32, f32)>, Refusal> {
    let Some(node) = body.take("logit_bias") else { return Ok(Vec::new()) };
    let path = node.path.clone();
    let map = node.fields()?.into_map();
    if map.len() > limits::LOGIT_BIAS_MAX {
        let (most, count) = (limits::LOGIT_BIAS_MAX, map.len());
        let message = format!("`{path}` may name {most} tokens at most, and names {count}");
        return Err(Refusal::invalid(path, message));
    }
    let mut list = Vec::with_capacity(map.len());
    for (token, value) in map {
        let Ok(id) = token.parse::<u32>() else {
            let shown: String = token.chars().take(40).collect();
            let message = format!("`{path}` names tokens by number, and `{shown}` is none");
            return Err(Refusal::invalid(path, message));
        };
        let bias = Node { value, path: format!("{path}.{id}") }.number(limits::BIAS)?;
        list.push((id, if bias <= -100.0 { f32::NEG_INFINITY } else { bias }));
    }
    list.sort_by_key(|&(id, _)| id);
    Ok(list)
}

/// `stop`: one text or several.
pub(crate) fn stops(body: &mut Fields) -> Result<Vec<String>, Refusal> {
    let Some(node) = body.take("stop") else { return Ok(Vec::new()) };
    if node.value.is_string() {
        return Ok(vec![stop(node)?]);
    }
    node.list(limits::STOPS_MAX)?.into_iter().map(stop).collect()
}

fn stop(node: Node) -> Result<String, Refusal> {
    let path = node.path.clone();
    let text = node.short_text(limits::STOP_BYTES_MAX)?;
    if text.is_empty() {
        return Err(Refusal::invalid(path.clone(), format!("`{path}` must not be empty")));
    }
    Ok(text)
}

fn texts(node: Node) -> Result<Vec<String>, Refusal> {
    let entry = |node: Node| node.short_text(limits::STOP_BYTES_MAX);
    node.list(limits::STOPS_MAX)?.into_iter().map(entry).collect()
}

/// What the answer must conform to: `response_format`, llama.cpp's `grammar` and `json_schema`, or
/// vLLM's `guided_*` and `structured_outputs`. At most one of them.
pub(crate) fn output_format(body: &mut Fields) -> Result<OutputFormat, Refusal> {
    let mut found = Vec::new();
    if let Some(node) = body.take("response_format") {
        found.push((node.path.clone(), response_format(node)?));
    }
    let flat = [
        ("json_schema", Format::Schema),
        ("grammar", Format::Grammar),
        ("guided_json", Format::Schema),
        ("guided_regex", Format::Regex),
        ("guided_choice", Format::Choice),
        ("guided_grammar", Format::Grammar),
    ];
    take_formats(body, &flat, &mut found)?;
    if let Some(mut inner) = body.fields("structured_outputs")? {
        let inside = [
            ("json", Format::Schema),
            ("regex", Format::Regex),
            ("choice", Format::Choice),
            ("grammar", Format::Grammar),
        ];
        take_formats(&mut inner, &inside, &mut found)?;
    }
    found.retain(|(_, format)| *format != OutputFormat::Free);
    if let [(first, _), (second, _), ..] = found.as_slice() {
        let message = format!("`{first}` and `{second}` exclude each other");
        return Err(Refusal::invalid(second.clone(), message));
    }
    Ok(found.pop().map_or(OutputFormat::Free, |(_, format)| format))
}

/// What a field holds.
#[derive(Clone, Copy)]
enum Format {
    Schema,
    Regex,
    Choice,
    Grammar,
}

/// Takes those of the fields that are there, with their paths.
fn take_formats(
    fields: &mut Fields,
    names: &[(&str, Format)],
    found: &mut Vec<(String, OutputFormat)>,
) -> Result<(), Refusal> {
    for &(name, format) in names {
        let Some(node) = fields.take(name) else { continue };
        let path = node.path.clone();
        let format = match format {
            Format::Schema => OutputFormat::JsonSchema(bounded_schema(node)?),
            Format::Regex => OutputFormat::Regex(node.short_text(limits::SCHEMA_BYTES_MAX)?),
            Format::Choice => {
                let list = node.list(limits::CHOICES_MAX)?;
                let list: Result<Vec<_>, _> = list.into_iter().map(Node::text).collect();
                OutputFormat::Choice(list?)
            }
            Format::Grammar => match node.short_text(limits::SCHEMA_BYTES_MAX)? {
                // llama.cpp's clients send an empty one for none.
                text if text.trim().is_empty() => OutputFormat::Free,
                text => grammar_of(text),
            },
        };
        found.push((path, format));
    }
    Ok(())
}

/// Lark's rules are written with a colon, GBNF's with `::=`.
pub(crate) fn grammar_of(text: String) -> OutputFormat {
    if text.contains("::=") { OutputFormat::Gbnf(text) } else { OutputFormat::Lark(text) }
}

fn response_format(node: Node) -> Result<OutputFormat, Refusal> {
    let path = node.path.clone();
    let mut fields = node.fields()?;
    let kind = fields.need("type")?;
    match kind.value.as_str() {
        Some("text") => Ok(OutputFormat::Free),
        Some("json_object") => match fields.take("schema") {
            Some(schema) => Ok(OutputFormat::JsonSchema(bounded_schema(schema)?)),
            None => Ok(OutputFormat::JsonObject),
        },
        Some("json_schema") => {
            let mut inner = fields.need("json_schema")?.fields()?;
            let schema = inner.need("schema")?;
            Ok(OutputFormat::JsonSchema(bounded_schema(schema)?))
        }
        Some("grammar") => {
            let grammar = fields.need("grammar")?.short_text(limits::SCHEMA_BYTES_MAX)?;
            Ok(grammar_of(grammar))
        }
        Some("regex") => {
            let regex = fields.need("regex")?.short_text(limits::SCHEMA_BYTES_MAX)?;
            Ok(OutputFormat::Regex(regex))
        }
        _ => {
            let mut refusal = kind.refuse("`text`, `json_object` or `json_schema`");
            refusal.field = Some(format!("{path}.type"));
            Err(refusal)
        }
    }
}

/// A schema: an object or a boolean, of a size that may be compiled. (vLLM takes a text, too.)
pub(crate) fn bounded_schema(node: Node) -> Result<Value, Refusal> {
    let Node { value, path } = node;
    let value = match value {
        Value::String(text) => crate::json::parse(text.as_bytes()).map_err(|refusal| {
            Refusal::invalid(path.clone(), format!("`{path}`: {}", refusal.message))
        })?,
        value => value,
    };
    if !value.is_object() && !value.is_boolean() {
        return Err(Node { value, path }.refuse("a JSON schema"));
    }
    let length = value.to_string().len();
    if length > limits::SCHEMA_BYTES_MAX {
        let most = limits::SCHEMA_BYTES_MAX;
        let message = format!("`{path}` may have {most} bytes at most, and has {length}");
        return Err(Refusal::invalid(path, message));
    }
    Ok(value)
}
