//! A copy of this mind: the child has the same window, label and capabilities. Its prompt begins as
//! its parent's, so their keys and values are found again and not computed twice.

use super::spawn::PROCESSES_MAX;
use super::{Syscall, done, object, wrong};
use crate::event::{Budget, Event};
use crate::kernel::{Said, TextPage};
use crate::page::{PageKind, Speaker};

pub(super) const CALL: Syscall = Syscall {
    name: "fork",
    description: "makes a copy of this process, which goes on beside it",
    parameters: || object(&[]),
    run: |kernel, pid, _arguments| {
        if kernel.state().processes.len() >= PROCESSES_MAX {
            return wrong(format!("there are {PROCESSES_MAX} processes already; wait for some"));
        }
        let process = kernel.process(pid)?;
        let open: Vec<_> = process.open.iter().map(|call| call.id).collect();
        let budget = process.left().part(Budget::default());
        let child = kernel.state().next_pid();
        kernel.emit(Event::Forked { pid: child, parent: pid, budget })?;
        let said = Said::system("");
        for (at, call) in open.into_iter().enumerate() {
            let of = TextPage {
                kind: PageKind::ToolOutput,
                speaker: Speaker::Result { call },
                source: said.source.clone(),
                source_kind: said.source_kind,
                label: said.label.clone(),
            };
            let text = match at {
                0 => format!("you are the copy, process {child}"),
                _ => "this is done by the process that you are a copy of".to_owned(),
            };
            let page = kernel.make_page(child, &of, &text, 0);
            kernel.emit(Event::Appended { pid: child, page })?;
        }
        kernel.emit(Event::Admitted { pid: child })?;
        done(format!("process {child} is a copy of this one"))
    },
};
