//! The oracle for every template at hand: it writes a call, and the reader must find name and
//! arguments again.

use std::path::PathBuf;

use lucid_provider::dialogue::{Begins, Format};
use lucid_provider::{Message, ToolCall};
use lucid_tokenizer::template::{ChatTemplate, LUCID_TEMPLATE, RenderOptions};
use serde_json::{Value, json};

use super::{hear, tools};

/// Templates that do not write calls, whatever they are asked. For those with a note the syntax is
/// described to the model in the prompt, and the reader knows it.
const WITHOUT_CALLS: &[&str] = &[
    "HuggingFaceTB-SmolLM3-3B.jinja",
    "LFM2-8B-A1B.jinja",                              // only the list of tools
    "LFM2.5-Instruct.jinja",                          // only the list of tools
    "MiroThinker.jinja", // fails at calls: it looks for a tool that is not there
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja", // wants a content that is null
    "google-gemma-2-2b-it.jinja",
    "ibm-granite-granite-3.3-2B-Instruct.jinja", // only in the prompt
    "llama-cpp-rwkv-world.jinja",
    "microsoft-Phi-3.5-mini-instruct.jinja",
];

/// Templates that refuse an answer with several calls.
const ONE_CALL: &[&str] = &[
    "meta-llama-Llama-3.1-8B-Instruct.jinja",
    "meta-llama-Llama-3.2-3B-Instruct.jinja",
    "meta-llama-Llama-3.3-70B-Instruct.jinja",
];

/// Templates that write the first of several calls and leave out the others.
const FIRST_CALL: &[&str] = &["GigaChat3-10B-A1.8B.jinja", "GigaChat3.1-10B-A1.8B.jinja"];

/// A template and what it wrote of a conversation that ends with calls.
struct Case {
    name: String,
    source: String,
    answer: Option<String>,
    calls: Vec<Value>,
}

pub(super) fn shared() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let path = std::env::var_os("LUCID_SHARED").map_or_else(|| default.into(), PathBuf::from);
    if !path.is_dir() {
        println!("skipped: ../shared/data is absent");
        return None;
    }
    Some(path)
}

/// The sources of all templates at hand, with their names.
pub(super) fn templates() -> Vec<(String, String)> {
    let mut templates = vec![("lucid".to_owned(), LUCID_TEMPLATE.to_owned())];
    let Some(shared) = shared() else { return templates };
    for entry in std::fs::read_dir(shared.join("templates/jinja")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        templates.push((name, std::fs::read_to_string(&path).unwrap()));
    }
    templates.sort();
    templates
}

/// Arguments that every syntax can carry.
fn arguments() -> Vec<Value> {
    vec![
        json!({"city": "Oslo \"x\" </b> {\\", "days": 3}),
        json!({"city": "São Paulo\nnorth", "units": ["°C", "mm"], "days": -1}),
    ]
}

/// The tools as templates want them described: in one of these ways.
fn described() -> [Vec<Value>; 3] {
    let nested = tools().into_iter().map(|tool| {
        json!({"type": "function", "function": {
            "name": tool.name, "description": tool.description, "parameters": tool.parameters,
        }})
    });
    let flat = tools().into_iter().map(|tool| {
        json!({"name": tool.name, "description": tool.description, "parameter_definitions": {}})
    });
    [nested.collect(), flat.collect(), Vec::new()]
}

/// What a template writes after the user's message, with one of the ways that it may want to be
/// asked.
fn render(source: &str, calls: &[Value]) -> Option<String> {
    let template = ChatTemplate::new(source, Vec::new(), Some("<|BOS|>"), Some("<|EOS|>")).ok()?;
    let contents = [Some("CONTENT"), Some(""), None];
    let ways = contents.into_iter().flat_map(|content| [(content, false), (content, true)]);
    for (content, as_text) in ways {
        let calls = calls.iter().enumerate().map(|(index, arguments)| ToolCall {
            id: format!("abcdefgh{index}"),
            name: "get_weather".to_owned(),
            arguments: if as_text { json!(arguments.to_string()) } else { arguments.clone() },
        });
        let answer = Message {
            role: "assistant".to_owned(),
            content: content.map(str::to_owned),
            reasoning: Some("REASON".to_owned()),
            tool_calls: calls.collect(),
            ..Message::default()
        };
        let messages = [Message::text("user", "USERMSG"), answer];
        for tools in described() {
            let mut options = RenderOptions { tools, ..RenderOptions::default() };
            options.extra.insert("functions".to_owned(), json!("[]"));
            options.extra.insert("datetime".to_owned(), json!("2025"));
            if let Some(answer) = written(&template, &messages, options) {
                return Some(answer);
            }
        }
    }
    None
}

/// The answer that a template writes, if there are calls in it.
fn written(
    template: &ChatTemplate,
    messages: &[Message],
    mut options: RenderOptions,
) -> Option<String> {
    let rendered = template.render(messages, &options).ok()?;
    let (_, after) = rendered.text.rsplit_once("USERMSG")?;
    if !after.contains("get_weather") {
        return None;
    }
    options.add_generation_prompt = true;
    let asked = template.render(&messages[..1], &options).unwrap_or_default();
    // What the prompt has written is no part of the answer.
    let opens = asked.text.rsplit_once("USERMSG").map_or("", |(_, opens)| opens);
    Some(after.strip_prefix(opens).unwrap_or(after).to_owned())
}

fn cases(calls: &[Value]) -> Vec<Case> {
    let case = |(name, source): (String, String)| Case {
        answer: render(&source, calls),
        calls: calls.to_vec(),
        name,
        source,
    };
    templates().into_iter().map(case).collect()
}

/// What is wrong with what was found; none where nothing was written.
fn check(case: &Case) -> Option<Result<(), String>> {
    let answer = case.answer.as_ref()?;
    let format = Format::of_template(&case.source);
    let heard = hear(format.reader(Begins::Outside, &tools()), [&**answer]);
    let json = |text: &str| serde_json::from_str::<Value>(text).ok();
    let found: Vec<_> = heard.calls.iter().map(|(name, text)| (name.clone(), json(text))).collect();
    let call = |json: &Value| ("get_weather".to_owned(), Some(json.clone()));
    let mut expected: Vec<_> = case.calls.iter().map(call).collect();
    if FIRST_CALL.contains(&case.name.as_str()) {
        expected.truncate(1);
    }
    if found == expected {
        return Some(Ok(()));
    }
    let (name, syntax) = (&case.name, format.call_syntax());
    Some(Err(format!("{name} as {syntax:?}: {answer:?} gave {heard:?}")))
}

#[test]
fn calls_that_templates_write_are_found() {
    for count in [1, 2] {
        let calls = &arguments()[..count];
        let (mut without, mut wrong) = (Vec::new(), Vec::new());
        let mut checked = 0;
        for case in cases(calls) {
            match check(&case) {
                Some(Ok(())) => checked += 1,
                Some(Err(error)) => wrong.push(error),
                None => without.push(case.name),
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        println!("{checked} templates wrote {count} calls; without: {without:?}");
        if shared().is_some() {
            let mut expected: Vec<_> = WITHOUT_CALLS.to_vec();
            if count > 1 {
                expected.extend(ONE_CALL);
                expected.sort_unstable();
            }
            assert_eq!(without, expected);
        }
    }
}
