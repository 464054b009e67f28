//! Reads a file, or what is held. Reading what is not to be believed takes privileges.

use super::files::file_said;
use super::{
    May, Syscall, flag, flag_of, holds, number, object, optional_number, optional_text, text, wrong,
};
use crate::ids::PageId;
use crate::kernel::Said;
use crate::page::PageKind;

pub(super) const CALL: Syscall = Syscall {
    name: "read",
    description: "reads a file of the application, or a text that is held",
    parameters: || object(&[("path", May, text()), ("held", May, number()), ("hold", May, flag())]),
    run: |kernel, pid, arguments| {
        if let Some(id) = optional_number(arguments, "held")?.map(PageId) {
            let Some(page) = kernel.process(pid)?.window.held.get(&id).cloned() else {
                return wrong(format!("nothing is held under {id}"));
            };
            return Ok(Said {
                text: kernel.page_text(page.content)?,
                kind: PageKind::ToolOutput,
                source: page.source.clone(),
                source_kind: page.source_kind,
                label: page.label.clone(),
                ..Said::system("")
            }
            .into());
        }
        let Some(path) = optional_text(arguments, "path")? else {
            return wrong("a `path` or what is `held` is expected");
        };
        let said = file_said(kernel, pid, path)?;
        let hold = holds(kernel, pid, &said.label, flag_of(arguments, "hold")?)?;
        Ok(Said { hold, ..said }.into())
    },
};
