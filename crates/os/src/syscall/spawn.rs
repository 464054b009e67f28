//! A new process below this one.

use serde_json::{Value, json};

use lucid_policy::Form;

use super::{
    Gone, May, Must, Syscall, done, number, numbers_of, object, optional_number, text, text_of,
    too_long, wrong,
};
use crate::event::{Birth, Budget, Event};
use crate::ids::{PageId, Pid};
use crate::kernel::{Kernel, TextPage, held_note};
use crate::page::{PageKind, Speaker};

/// Processes that there may be.
pub(super) const PROCESSES_MAX: usize = 2048;

pub(super) const CALL: Syscall = Syscall {
    name: "spawn",
    description: "begins another process with a goal of its own; `pages` are shown to it, `held` \
                  texts handed to it; `returns` bounds its result to a closed form, so that it can \
                  read what is not to be believed",
    parameters: || {
        let list = || json!({"type": "array", "items": {"type": "integer"}});
        object(&[
            ("application", Must, text()),
            ("goal", Must, text()),
            ("pages", May, list()),
            ("held", May, list()),
            ("returns", May, returns()),
            ("tokens", May, number()),
        ])
    },
    run: |kernel, pid, arguments| {
        let application = text_of(arguments, "application")?.to_owned();
        let goal = text_of(arguments, "goal")?.to_owned();
        let form = form_of(arguments.get("returns"))?;
        let wish = Budget { tokens: optional_number(arguments, "tokens")?, ..Budget::default() };
        let pages = numbers_of(arguments, "pages")?;
        let held = numbers_of(arguments, "held")?;
        if let Some(reason) = too_long(kernel, &application, &goal) {
            return wrong(reason);
        }
        let child = begin(kernel, pid, &application, wish, form)?;
        let notes = hand_over(kernel, pid, child, &pages, &held)?;
        let goal = notes.into_iter().fold(goal, |goal, note| goal + "\n" + &note);
        let label = kernel.process(pid)?.label.clone();
        let of = TextPage {
            kind: PageKind::Goal,
            speaker: Speaker::Person,
            source: format!("process {pid}"),
            source_kind: None,
            label,
        };
        let page = kernel.make_page(child, &of, &goal, 0);
        kernel.emit(Event::Appended { pid: child, page })?;
        kernel.emit(Event::Admitted { pid: child })?;
        done(format!("process {child}"))
    },
};

fn begin(
    kernel: &mut Kernel,
    parent: Pid,
    name: &str,
    wish: Budget,
    form: Option<Form>,
) -> Result<Pid, Gone> {
    let Some(application) = kernel.settings().applications.get(name) else {
        let known: Vec<_> = kernel.settings().applications.keys().map(String::as_str).collect();
        return wrong(format!("there is no application `{name}`; there are: {}", known.join(", ")));
    };
    if kernel.state().processes.len() >= PROCESSES_MAX {
        return wrong(format!("there are {PROCESSES_MAX} processes already; wait for some"));
    }
    let of = kernel.process(parent)?;
    // It may do what the application asks for as far as its parent may hand that on.
    let own = lucid_policy::inherited(&of.capabilities);
    let covered = |wanted: &&lucid_policy::Capability| own.iter().any(|own| own.covers(wanted));
    let birth = Birth {
        pid: kernel.state().next_pid(),
        parent: Some(parent),
        application: name.to_owned(),
        principal: of.principal.clone(),
        provider: application.provider.clone(),
        capabilities: application.capabilities.iter().filter(covered).cloned().collect(),
        budget: of.left().part(wish),
        priority: of.priority,
        deadline_ms: of.deadline_ms,
        form,
        label: of.label.clone(),
    };
    let pid = birth.pid;
    kernel.emit(Event::Spawned(birth))?;
    kernel.begin_window(pid)?;
    Ok(pid)
}

/// Pages are read by the child; what is held it holds, and is told of: the notes.
fn hand_over(
    kernel: &mut Kernel,
    parent: Pid,
    child: Pid,
    pages: &[u64],
    held: &[u64],
) -> Result<Vec<String>, Gone> {
    let mut notes = Vec::new();
    for (numbers, reads) in [(pages, true), (held, false)] {
        for id in numbers.iter().copied().map(PageId) {
            let window = &kernel.process(parent)?.window;
            let page = if reads {
                window.slot(id).map(|slot| slot.page.clone())
            } else {
                window.held.get(&id).cloned()
            };
            // The child is there already; it begins without what its parent does not have.
            let Some(page) = page else { continue };
            let of = TextPage {
                kind: page.kind,
                speaker: Speaker::Person,
                source: page.source.clone(),
                source_kind: page.source_kind,
                label: page.label.clone(),
            };
            let text = kernel.page_text(page.content)?;
            let page = kernel.make_page(child, &of, &text, 0);
            kernel.emit(if reads {
                Event::Appended { pid: child, page }
            } else {
                notes.push(held_note(&page));
                Event::Handed { pid: child, page }
            })?;
        }
    }
    Ok(notes)
}

/// The schema of forms.
fn returns() -> Value {
    json!({"anyOf": [
        {"enum": ["decimal", "date", "flag"]},
        {"type": "array", "items": {"type": "string"}},
        {"type": "object", "properties": {
            "from": {"type": "integer"}, "to": {"type": "integer"}},
            "required": ["from", "to"], "additionalProperties": false},
    ]})
}

fn form_of(value: Option<&Value>) -> Result<Option<Form>, Gone> {
    let form = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(name)) => match name.as_str() {
            "decimal" => Some(Form::Decimal),
            "date" => Some(Form::Date),
            "flag" => Some(Form::Flag),
            _ => None,
        },
        Some(Value::Array(words)) => {
            let words: Option<Vec<_>> =
                words.iter().map(|word| word.as_str().map(str::to_owned)).collect();
            words.filter(|words| !words.is_empty()).map(Form::OneOf)
        }
        Some(Value::Object(bounds)) => {
            let bound = |name: &str| bounds.get(name).and_then(Value::as_i64);
            bound("from").zip(bound("to")).map(|(from, to)| Form::Integer { from, to })
        }
        Some(_) => None,
    };
    match form {
        Some(form) => Ok(Some(form)),
        None => wrong(
            "returns: \"decimal\", \"date\", \"flag\", a list of words, or {\"from\": 0, \"to\": \
             9} is expected",
        ),
    }
}
