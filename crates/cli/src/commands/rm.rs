//! `lucid rm NAME`: deletes a model from Lucid's own cache.

use anyhow::{Result, bail};

use crate::args::RmArgs;
use crate::env::Environment;
use crate::{output, style};

pub(crate) fn run(args: &RmArgs, environment: &Environment) -> Result<i32> {
    if !args.yes && !environment.stdin_is_terminal {
        bail!(
            "rm asks before it deletes, and nobody can be asked here; --yes deletes without \
             asking"
        );
    }
    // Found first: whoever says yes has seen what goes.
    let removable = lucid_hub::removable(&environment.hub, &args.model)?;
    let path = style::harmless(&removable.path.display().to_string());
    let (name, size) = (style::harmless(&removable.name), style::bytes(removable.bytes));
    if !args.yes && !ask(&format!("Delete {name}: {path} ({size})?"))? {
        return Ok(1);
    }
    let removed = removable.delete()?;
    output::line(format!("deleted {path} ({})", style::bytes(removed.bytes)))?;
    Ok(0)
}

/// A question with yes or no; no is the default.
pub(super) fn ask(question: &str) -> Result<bool> {
    output::question(format_args!("{question} [y/N] "));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
