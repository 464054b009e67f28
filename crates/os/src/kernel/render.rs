//! What the model is shown: a window as a conversation, and the calls that it may make.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use lucid_policy::{Integrity, SourceKind};
use lucid_provider::{
    ClientId, Message, Prompt, Sampling, Tool, ToolCall, ToolChoice, Tools, Turn,
};

use crate::error::OsError;
use crate::ids::{CallId, PageId, Pid};
use crate::kernel::{Application, Kernel};
use crate::page::{CallRecord, Speaker};
use crate::paging;
use crate::state::{Place, Process, Slot, View};
use crate::syscall;

impl Kernel {
    /// The turn of a process.
    pub(super) fn render(&self, pid: Pid, seed: u64) -> Result<Turn, OsError> {
        let process = self.process(pid)?;
        let application = self.application(&process.application)?;
        let messages = self.messages(process)?;
        let principal = crate::ids::ContentId::of(process.principal.name().as_bytes());
        let client: [u8; 8] = principal.as_bytes()[..8].try_into().unwrap_or_default();
        let left = process.left().tokens.unwrap_or(u64::MAX);
        // Others refuse one, or say something else with it anyway.
        let provider = self.settings.providers.get(&process.provider);
        let keeps_seeds = provider.is_some_and(|it| it.card().capabilities.reproducible);
        Ok(Turn {
            prompt: Prompt::chat(messages),
            sampling: Sampling {
                seed: keeps_seeds.then_some(seed),
                ..application.sampling.clone()
            },
            new_tokens_max: Some(self.answer_tokens(process).min(left) as usize),
            tools: Tools {
                list: self.offered(application),
                choice: ToolChoice::Auto,
                parallel: true,
            },
            effort: application.effort,
            client: ClientId(u64::from_le_bytes(client)),
            ..Turn::default()
        })
    }

    fn messages(&self, process: &Process) -> Result<Vec<Message>, OsError> {
        let mut messages: Vec<Message> = Vec::new();
        // Results follow their calls at once, whatever was read in between.
        let (mut awaited, mut later) = (0usize, Vec::new());
        let mut names: BTreeMap<CallId, (String, String)> = BTreeMap::new();
        let open: BTreeSet<_> = process.open.iter().map(|call| call.id).collect();
        for view in process.window.views() {
            let slot = match view {
                View::Slot(slot) => slot,
                View::Range { first, last, pages, tokens } => {
                    let stub = paging::range_stub(first.id, last.id, pages, tokens);
                    if awaited > 0 {
                        later.push(stub);
                    } else {
                        join(&mut messages, "user", stub);
                    }
                    continue;
                }
            };
            let text = self.shown(slot)?;
            match &slot.page.speaker {
                Speaker::System => join(&mut messages, "system", text),
                Speaker::Person if awaited > 0 => later.push(text),
                Speaker::Person => join(&mut messages, "user", text),
                Speaker::Process { calls, reasoning } => {
                    let reasoning = reasoning.filter(|_| slot.place == Place::In);
                    let reasoning = reasoning.map(|id| self.page_text(id)).transpose()?;
                    let named = calls.iter().enumerate().map(|(at, call)| {
                        (call.id, (call_name(slot.page.id, at), call.name.clone()))
                    });
                    names.extend(named);
                    let calls = calls.iter().filter(|call| !open.contains(&call.id));
                    let calls: Result<Vec<ToolCall>, OsError> = calls
                        .map(|call| self.tool_call(names[&call.id].0.clone(), call, slot.place))
                        .collect();
                    awaited = calls.as_ref().map_or(0, Vec::len);
                    messages.push(Message {
                        reasoning,
                        tool_calls: calls?,
                        ..Message::text("assistant", text)
                    });
                }
                Speaker::Result { call } => {
                    let (id, name) = names.get(call).cloned().unzip();
                    let text = Message::text("tool", text);
                    messages.push(Message { tool_call_id: id, name, ..text });
                }
            }
            if matches!(slot.page.speaker, Speaker::Result { .. }) {
                awaited = awaited.saturating_sub(1);
            }
            if awaited == 0 {
                later.drain(..).for_each(|text| join(&mut messages, "user", text));
            }
        }
        later.drain(..).for_each(|text| join(&mut messages, "user", text));
        Ok(messages)
    }

    /// What stands in a slot: the text, with where it comes from if it is not to be believed, or a
    /// stub.
    fn shown(&self, slot: &Slot) -> Result<String, OsError> {
        let page = &slot.page;
        let text = self.page_text(page.content)?;
        if slot.place == Place::Out {
            return Ok(paging::stub(page, &paging::gist(&text)));
        }
        // What was computed says what the process said itself.
        let own = matches!(page.speaker, Speaker::Process { .. })
            || page.source_kind == Some(SourceKind::Computed);
        let untrusted = page.label.integrity() == Integrity::Untrusted && !own;
        Ok(if untrusted { format!("[from {}: data]\n{text}", page.source) } else { text })
    }

    fn tool_call(&self, id: String, call: &CallRecord, place: Place) -> Result<ToolCall, OsError> {
        let arguments = match place {
            Place::In => {
                let text = self.page_text(call.arguments)?;
                serde_json::from_str(&text).unwrap_or(Value::String(text))
            }
            Place::Out => json!({}),
        };
        Ok(ToolCall { id, name: call.name.clone(), arguments })
    }

    /// The calls that an application's processes may make.
    fn offered(&self, application: &Application) -> Vec<Tool> {
        let syscalls = application.syscalls.iter().filter_map(|name| syscall::find(name));
        let syscalls = syscalls.map(|syscall| Tool {
            name: syscall.name.to_owned(),
            description: Some(syscall.description.to_owned()),
            parameters: (syscall.parameters)(),
        });
        let tools = application.tools.iter().filter_map(|name| self.settings.tools.get(name));
        let tools = tools.map(|tool| {
            let card = tool.card();
            Tool {
                name: card.policy.name.clone(),
                description: Some(card.description.clone()),
                parameters: card.parameters.clone(),
            }
        });
        syscalls.chain(tools).collect()
    }

    /// Measures what a prompt of each application has without any page: the declarations of calls.
    /// At the start, so that it is the same whatever ran before.
    pub(super) fn measure_fixed(&mut self) {
        let measured = self
            .settings
            .applications
            .iter()
            .map(|(name, application)| (name.clone(), self.declared_tokens(application)));
        self.fixed_tokens = measured.collect();
    }

    fn declared_tokens(&self, application: &Application) -> u64 {
        let list = self.offered(application);
        let bytes: usize = list
            .iter()
            .map(|tool| {
                let described = tool.description.as_ref().map_or(0, String::len);
                tool.name.len() + described + tool.parameters.to_string().len()
            })
            .sum();
        let provider = self.settings.providers.get(&application.provider);
        let counted = provider.filter(|it| it.card().capabilities.tokens).and_then(|provider| {
            let tools = Tools { list, ..Tools::default() };
            let prompt = Prompt::Chat {
                messages: vec![Message::text("user", "")],
                variables: Map::new(),
                continues: false,
            };
            provider.count_tokens(&Turn { prompt, tools, ..Turn::default() }).ok()
        });
        counted.unwrap_or(bytes / 3) as u64
    }
}

/// Adds a text to the last message if that has the same speaker: templates want them to alternate.
fn join(messages: &mut Vec<Message>, role: &str, text: String) {
    match messages.last_mut() {
        Some(last) if last.role == role => {
            let before = last.content.get_or_insert_default();
            if !before.is_empty() {
                before.push_str("\n\n");
            }
            before.push_str(&text);
        }
        // Only the first message may be the system's; what it says later is said as data.
        Some(_) if role == "system" => messages.push(Message::text("user", text)),
        _ => messages.push(Message::text(role, text)),
    }
}

/// A call by its place in the conversation: its number tells what other processes did.
fn call_name(page: PageId, at: usize) -> String {
    format!("call_{page}_{at}")
}
