//! Takes a file in hand without reading it.

use super::files::file_said;
use super::{Must, Syscall, object, text, text_of};
use crate::kernel::Said;

pub(super) const CALL: Syscall = Syscall {
    name: "open",
    description: "takes a file in hand without reading it; pass it on as {\"held\": NUMBER}",
    parameters: || object(&[("path", Must, text())]),
    run: |kernel, pid, arguments| {
        let said = file_said(kernel, pid, text_of(arguments, "path")?)?;
        Ok(Said { hold: true, ..said }.into())
    },
};
