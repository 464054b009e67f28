//! Lets a page leave the window.

use super::{Must, Syscall, done, number, object, page_of, wrong};
use crate::state::Place;

pub(super) const CALL: Syscall = Syscall {
    name: "page_out",
    description: "lets a page leave the window; it can be shown again",
    parameters: || object(&[("page", Must, number())]),
    run: |kernel, pid, arguments| {
        let id = page_of(arguments)?;
        if kernel.move_page(pid, id, Place::Out)? {
            return done(format!("page#{id} is out"));
        }
        wrong(format!("there is no page#{id} that could leave"))
    },
};
