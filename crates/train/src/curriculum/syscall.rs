//! Calls of the operating system: names and arguments are the kernel's, the declarations shorter.

use lucid_tokenizer::template::Message;
use serde_json::{Value, json};

use super::template::{fill, question};
use super::words::{FILES, NAMES, TASKS, THINGS};
use super::{Check, Like, Maker, Side, assistant, calculator, call, tool, user};
use crate::conversation::Conversation;

/// A call: its name, how it is asked for, what it gives and what is said then.
struct Call {
    name: &'static str,
    asked: [&'static [&'static str]; 2],
    gives: &'static str,
    said: &'static str,
}

const CALLS: [Call; 12] = [
    Call {
        name: "write",
        asked: [
            &[
                "Write \"{task}\" to {file}.",
                "Put the text \"{task}\" into the file {file}.",
                "Save \"{task}\" as {file}.",
                "Create {file} with the text \"{task}\".",
                "I want a file {file} that says \"{task}\".",
                "Save the words \"{task}\" in {file}.",
                "Into {file} goes the text \"{task}\".",
            ],
            &["Save the text \"{task}\" into {file}.", "The file {file} has to say \"{task}\"."],
        ],
        gives: "{bytes} bytes are in {file}",
        said: "I wrote it to {file}.",
    },
    Call {
        name: "read",
        asked: [
            &[
                "What is in {file}?",
                "Read {file}.",
                "Show me the file {file}.",
                "Tell me what {file} says.",
                "Open {file} and tell me what stands there.",
                "Show me what is in {file}.",
                "What does {file} say?",
            ],
            &["Open {file} and show it to me.", "What stands in {file}?"],
        ],
        gives: "{task}",
        said: "{file} says: {task}",
    },
    Call {
        name: "note",
        asked: [
            &[
                "Remember: {task}.",
                "Make a note: {task}.",
                "Please remember that I have to {task}.",
                "Note that I want to {task}.",
                "Keep in mind that I must {task}.",
                "Note: {task}.",
                "Remember to {task}, please.",
            ],
            &["Please note that I must {task}.", "Remember: I want to {task}."],
        ],
        gives: "it is in notes/{number}.txt",
        said: "I have noted it.",
    },
    Call {
        name: "notes",
        asked: [
            &[
                "What did you note about {things}?",
                "What do your notes say about {things}?",
                "Look for {things} in your notes.",
                "Do you remember anything about {things}?",
                "Is there a note about {things}?",
                "Find {things} in your notes.",
            ],
            &[
                "What is in your notes about {things}?",
                "Do your notes say anything about {things}?",
            ],
        ],
        gives: "notes/{number}.txt: {name} wants the {things}",
        said: "There is a note: {name} wants the {things}.",
    },
    Call {
        name: "search",
        asked: [
            &[
                "Search your pages for {things}.",
                "Which page is about {things}?",
                "Find {things} in what you have read.",
                "Where did we talk about {things}?",
                "Search for {things}.",
                "On which page did you read about {things}?",
            ],
            &["Find the page about {things}.", "Which of your pages is about {things}?"],
        ],
        gives: "page#{number}: {name} counts the {things}",
        said: "It is on page {number}: {name} counts the {things}.",
    },
    Call {
        name: "page_in",
        asked: [
            &[
                "Bring page {number} back.",
                "Show page {number} again.",
                "I need page {number} in the window.",
                "Load page {number}.",
                "Page {number} again, please.",
                "Let me see page {number}.",
            ],
            &["Show me page {number}.", "I need page {number} again."],
        ],
        gives: "{name} has to {task}",
        said: "Page {number} says that {name} has to {task}.",
    },
    Call {
        name: "send",
        asked: [
            &[
                "Send \"{task}\" to process {number}.",
                "Tell process {number}: \"{task}\".",
                "Send process {number} the message \"{task}\".",
                "Give process {number} the message \"{task}\".",
                "Let process {number} know: \"{task}\".",
            ],
            &[
                "Send the message \"{task}\" to process {number}.",
                "Tell \"{task}\" to process {number}.",
            ],
        ],
        gives: "sent",
        said: "Process {number} has the message.",
    },
    Call {
        name: "wait",
        asked: [
            &[
                "Wait for process {number}.",
                "Wait until process {number} is done.",
                "Let process {number} finish first.",
                "What does process {number} give? Wait for it.",
                "Wait for the end of process {number}.",
                "Process {number} has to finish: wait.",
            ],
            &["Wait for process {number} to finish.", "Let process {number} be done first."],
        ],
        gives: "{task}",
        said: "Process {number} ended with: {task}",
    },
    Call {
        name: "sleep",
        asked: [
            &[
                "Sleep for {number} seconds.",
                "Wait {number} seconds.",
                "Do nothing for {number} seconds.",
                "Pause for {number} seconds.",
                "Please sleep {number} seconds.",
                "Wait for {number} seconds, then go on.",
            ],
            &["Please, {number} seconds of sleep.", "Pause {number} seconds."],
        ],
        gives: "{number} s have passed",
        said: "{number} seconds have passed.",
    },
    Call {
        name: "kill",
        asked: [
            &[
                "Kill process {number}.",
                "End process {number} at once.",
                "Stop process {number} for good.",
                "Process {number} must go.",
                "Process {number} has to end.",
                "Please kill process {number}.",
            ],
            &["Process {number} must end at once.", "Kill process {number} for good."],
        ],
        gives: "done",
        said: "Process {number} has ended.",
    },
    Call {
        name: "spawn",
        asked: [
            &[
                "Start a helper to {task}.",
                "Let a helper {task}.",
                "Begin a process of the application helper that is to {task}.",
                "Have a helper {task} for me.",
                "A helper is to {task}.",
                "Start the application helper, which has to {task}.",
            ],
            &["Start a process of the helper to {task}.", "Let a helper do this: {task}."],
        ],
        gives: "process {number}",
        said: "Process {number} is at it.",
    },
    Call {
        name: "ask_human",
        asked: [
            &[
                "Ask me when I want to {task}.",
                "Find out from me when to {task}.",
                "You do not know when I will {task}: ask me.",
                "Ask me for the day on which I {task}.",
                "When will I {task}? Ask me.",
                "Ask me on which day I want to {task}.",
            ],
            &["Ask me when I will {task}.", "Find out on which day I {task}."],
        ],
        gives: "on {day}",
        said: "You {task} on {day}.",
    },
];

const DAYS: &[&str] =
    &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

pub(super) fn templates(side: Side) -> Vec<&'static str> {
    CALLS.iter().flat_map(|call| call.asked[side as usize]).copied().collect()
}

pub(super) fn make(made: &mut Maker) -> (Conversation, Check) {
    let chosen = &CALLS[made.below(CALLS.len())];
    let (name, file) = (made.word(NAMES, Like::Name), made.word(FILES, Like::File));
    let (task, things) = (made.word(TASKS, Like::Task), made.word(THINGS, Like::Many));
    let day = made.one(DAYS);
    let number = made.between(1, 99).to_string();
    let bytes = task.len().to_string();
    let gaps = [
        ("name", name.as_str()),
        ("file", file.as_str()),
        ("task", task.as_str()),
        ("things", things.as_str()),
        ("day", day),
        ("number", number.as_str()),
        ("bytes", bytes.as_str()),
    ];
    let value: u64 = number.parse().unwrap_or_default();
    let arguments = match chosen.name {
        "write" => json!({ "path": file, "text": task }),
        "read" => json!({ "path": file }),
        "note" => json!({ "text": task }),
        "notes" | "search" => json!({ "query": things }),
        "page_in" => json!({ "page": value }),
        "send" => json!({ "pid": value, "text": task }),
        "wait" | "kill" => json!({ "pid": value }),
        "sleep" => json!({ "seconds": value }),
        "spawn" => json!({ "application": "helper", "goal": task }),
        _ => json!({ "question": format!("When do you {task}?") }),
    };
    let asked = question(made, chosen.asked[made.side as usize], &gaps);
    let messages = vec![
        user(asked),
        call(chosen.name, arguments.clone()),
        Message {
            name: Some(chosen.name.to_owned()),
            ..Message::text("tool", fill(chosen.gives, &gaps))
        },
        assistant(fill(chosen.said, &gaps)),
    ];
    let conversation = Conversation { messages, tools: declared(made, chosen.name) };
    (conversation, Check::Calls { name: chosen.name.to_owned(), arguments })
}

/// The wanted call among up to three others, in any order.
fn declared(made: &mut Maker, wanted: &str) -> Vec<Value> {
    let mut names: Vec<&str> = CALLS.iter().map(|call| call.name).collect();
    names.retain(|name| *name != wanted);
    made.random.shuffle(&mut names);
    names.truncate(made.below(4));
    names.push(wanted);
    made.random.shuffle(&mut names);
    let mut tools: Vec<Value> = names.into_iter().map(declaration).collect();
    if made.below(4) == 0 {
        tools.push(calculator::declaration());
    }
    tools
}

/// A declaration of a call, in fewer words than the kernel's and without what is seldom given.
fn declaration(name: &str) -> Value {
    let (text, number) = (json!({"type": "string"}), json!({"type": "integer"}));
    let (description, properties) = match name {
        "write" => ("writes a file", vec![("path", &text), ("text", &text)]),
        "read" => ("reads a file", vec![("path", &text)]),
        "note" => ("keeps a note", vec![("text", &text)]),
        "notes" => ("looks into notes", vec![("query", &text)]),
        "search" => ("looks for words in pages", vec![("query", &text)]),
        "page_in" => ("brings a page back", vec![("page", &number)]),
        "send" => ("sends a message to a process", vec![("pid", &number), ("text", &text)]),
        "wait" => ("waits for a process", vec![("pid", &number)]),
        "sleep" => ("waits some seconds", vec![("seconds", &number)]),
        "kill" => ("ends a process", vec![("pid", &number)]),
        "spawn" => ("begins a process", vec![("application", &text), ("goal", &text)]),
        _ => ("asks the person", vec![("question", &text)]),
    };
    let required: Vec<&str> = properties.iter().map(|(name, _)| *name).collect();
    let properties: serde_json::Map<String, Value> =
        properties.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).clone())).collect();
    tool(
        name,
        description,
        &json!({"type": "object", "properties": properties, "required": required}),
    )
}
