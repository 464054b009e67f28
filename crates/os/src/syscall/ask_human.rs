//! Asks a person.

use lucid_policy::SourceKind;

use super::{Must, Syscall, done, object, text, text_of};
use crate::event::{On, Question, Reply};
use crate::kernel::{Came, Said};
use crate::page::PageKind;

pub(super) const CALL: Syscall = Syscall {
    name: "ask_human",
    description: "asks the person a question and waits for the answer",
    parameters: || object(&[("question", Must, text())]),
    run: |kernel, pid, arguments| {
        let question = text_of(arguments, "question")?.to_owned();
        if let Some((by, answer)) = kernel.process(pid)?.progress.answered.clone() {
            let Reply::Said { content } = answer else { return done("no answer") };
            let label = kernel.label_of(pid, SourceKind::Person, "person");
            return Ok(Said {
                text: kernel.page_text(content)?,
                kind: PageKind::Dialogue,
                source: format!("person {}", by.name()),
                source_kind: Some(SourceKind::Person),
                label,
                ..Said::system("")
            }
            .into());
        }
        if kernel.settings().person.is_none() {
            return super::wrong("nobody is there to be asked");
        }
        let content = kernel.put(question.as_bytes());
        Ok(Came::Waits(On::Human(Question::Open { content })))
    },
};
