//! Keeps a page in the window.

use super::{May, Must, Syscall, done, flag, flag_of, number, object, page_of, wrong};
use crate::event::Event;

pub(super) const CALL: Syscall = Syscall {
    name: "pin",
    description: "keeps a page in the window, or with `stays` false no longer",
    parameters: || object(&[("page", Must, number()), ("stays", May, flag())]),
    run: |kernel, pid, arguments| {
        let page = page_of(arguments)?;
        let stays = flag_of(arguments, "stays")?.unwrap_or(true);
        if kernel.process(pid)?.window.slot(page).is_none() {
            return wrong(format!("there is no page#{page}"));
        }
        kernel.emit(Event::Pinned { pid, page, stays })?;
        done(if stays { format!("page#{page} stays") } else { format!("page#{page} may leave") })
    },
};
