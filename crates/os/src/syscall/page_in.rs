//! Shows a page again, byte for byte.

use super::{Must, Syscall, number, object, page_of, wrong};

pub(super) const CALL: Syscall = Syscall {
    name: "page_in",
    description: "shows a page that is out of the window",
    parameters: || object(&[("page", Must, number())]),
    run: |kernel, pid, arguments| {
        let id = page_of(arguments)?;
        match kernel.page_said(pid, id)? {
            Some(said) => Ok(said.into()),
            None => wrong(format!("there is no page#{id}")),
        }
    },
};
