//! Checks that a quotation stands in a page, byte by byte, and says where.

use super::{Must, Syscall, done, number, object, page_of, text, text_of, wrong};

pub(super) const CALL: Syscall = Syscall {
    name: "cite",
    description: "checks that a quotation stands in a page exactly, and gives its place",
    parameters: || object(&[("page", Must, number()), ("quote", Must, text())]),
    run: |kernel, pid, arguments| {
        let id = page_of(arguments)?;
        let quote = text_of(arguments, "quote")?;
        if quote.is_empty() {
            return wrong("quote: it is empty");
        }
        let Some(slot) = kernel.process(pid)?.window.slot(id) else {
            return wrong(format!("there is no page#{id}"));
        };
        let source = slot.page.source.clone();
        match kernel.page_text(slot.page.content)?.find(quote) {
            Some(at) => done(format!("page#{id}, {source}, bytes {at} to {}", at + quote.len())),
            None => wrong(format!("it does not stand in page#{id} so")),
        }
    },
};
