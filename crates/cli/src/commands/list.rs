//! `lucid list`: models on this machine, also those that other programs keep.

use anyhow::Result;
use serde_json::json;
use unicode_width::UnicodeWidthStr as _;

use crate::args::ListArgs;
use crate::env::Environment;
use crate::style::Paint;
use crate::{output, style};

pub(crate) fn run(args: &ListArgs, environment: &Environment) -> Result<i32> {
    let models = lucid_hub::installed(&environment.hub);
    if args.json {
        let rows: Vec<_> = models
            .iter()
            .map(|model| {
                let modified = model
                    .modified
                    .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
                    .map(|age| age.as_secs());
                json!({
                    "name": model.name,
                    "path": model.path.to_string_lossy(),
                    "source": model.source.to_string(),
                    "bytes": model.bytes,
                    "modified_unix_seconds": modified,
                })
            })
            .collect();
        output::json(&json!(rows))?;
        return Ok(0);
    }
    if models.is_empty() {
        output::line("No model is on this machine. `lucid pull ORG/REPO` fetches one.")?;
        return Ok(0);
    }
    let paint = Paint::new(environment.colour);
    let column = models.iter().map(|model| model.name.width()).max().unwrap_or(0).max(4);
    let header = format!("{:<column$}  {:>8}  SOURCE", "NAME", "SIZE");
    output::line(paint.bold(header))?;
    for model in &models {
        let padding = " ".repeat(column - model.name.width());
        let name = style::harmless(&model.name);
        let size = style::bytes(model.bytes);
        output::line(format!("{name}{padding}  {size:>8}  {}", model.source))?;
    }
    Ok(0)
}
