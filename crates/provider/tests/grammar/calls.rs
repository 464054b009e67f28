//! Calls of tools in the templates' syntaxes: what a constraint lets a random model write is a
//! call that the reader finds, with arguments that the tool's schema accepts.

use std::sync::Arc;

use lucid_provider::dialogue::{Begins, Format, Piece};
use lucid_provider::grammar::{Demand, Grammars};
use lucid_provider::{OutputFormat, ProviderError, Tool, ToolChoice, Tools};
use lucid_tokenizer::Tokenizer;
use serde_json::{Value, json};

use super::answer::{Answer, Ended, Model};
use super::schemas::judge;
use super::vocabularies;

/// Sources that bear the signs of a syntax.
const SOURCES: &[(&str, &str)] = &[
    ("lucid", "<|think|><|/think|><|call|><|result|>"),
    ("hermes", "<think></think><tool_call>"),
    ("mistral", "[TOOL_CALLS]"),
    ("mistral with arguments", "[TOOL_CALLS][ARGS]"),
    ("llama", "{\"name\": \"parameters\"} ipython"),
    ("action", "<|START_ACTION|>"),
    ("action fenced", "Action: tool_name"),
    ("deepseek fenced", "<｜tool▁calls▁begin｜>```json"),
    ("deepseek", "<｜tool▁calls▁begin｜>"),
    ("deepseek tags", "DSML invoke"),
    ("apertus", "<|tools_prefix|>"),
    ("apriel", "<tool_calls>["),
    ("granite", "<|tool_call|><|start_of_role|>"),
    ("phi", "<|tool_call|><|/tool_call|>"),
    ("functools", "functools["),
    ("functionary tags", "<function=</function>"),
    ("functionary recipients", ">>>all"),
    ("gigachat", "<|function_call|>"),
    ("gigachat by role", "<|role_sep|>function call"),
    ("kimi", "<|tool_calls_section_begin|>"),
    ("harmony", "<|channel|>to=functions."),
    ("function tags", "<tool_call><function=<parameter="),
    ("seed", "<seed:tool_call>"),
    ("minimax", "<minimax:tool_call>"),
    ("argument keys", "<tool_call><arg_key><arg_value>"),
    ("python calls", "<|tool_call_start|>"),
];

fn tools(choice: ToolChoice) -> Tools {
    let search = json!({
        "type": "object",
        "properties": {
            "query": {"type": "string", "enum": ["tea", "coffee"]},
            "limit": {"type": "integer", "minimum": 1, "maximum": 9},
            "exact": {"type": "boolean"},
        },
        "required": ["query"],
        "additionalProperties": false,
    });
    let weather = json!({
        "type": "object",
        "properties": {"days": {"type": "array", "items": {"type": "integer"}, "maxItems": 2}},
        "required": ["days"],
        "additionalProperties": false,
    });
    let tool =
        |name: &str, parameters| Tool { name: name.to_owned(), description: None, parameters };
    let list = vec![tool("search", search), tool("weather", weather), tool("stop", Value::Null)];
    Tools { list, choice, parallel: true }
}

struct Ask<'a> {
    format: &'a OutputFormat,
    tools: &'a Tools,
    dialogue: &'a Format,
    begins: Begins,
}

fn answer(tokenizer: &Arc<Tokenizer>, grammars: &Grammars, ask: &Ask<'_>, seed: u64) -> Answer {
    let Ask { format, tools, dialogue, begins } = *ask;
    let demand = Demand { format, tools, dialogue, begins };
    let mut constraint = grammars.constraint(&demand).unwrap().expect("something is demanded");
    Model::new(tokenizer).answer(&mut *constraint, seed, 400).unwrap()
}

/// The calls of an answer, each checked against its tool's schema.
fn calls(dialogue: &Format, tools: &Tools, begins: Begins, text: &str) -> Vec<(String, Value)> {
    let mut reader = dialogue.reader(begins, &tools.list);
    let mut pieces = reader.push(text);
    pieces.extend(reader.finish());
    let mut calls: Vec<(String, String)> = Vec::new();
    for piece in pieces {
        match piece {
            Piece::CallBegun { name } => calls.push((name, String::new())),
            Piece::CallArguments(json) => calls.last_mut().unwrap().1.push_str(&json),
            Piece::Text(_) | Piece::Reasoning(_) => {}
        }
    }
    let parsed = calls.into_iter().map(|(name, arguments)| {
        let tool = tools.list.iter().find(|tool| tool.name == name);
        let tool = tool.unwrap_or_else(|| panic!("{name} is no tool: {text:?}"));
        let value: Value = serde_json::from_str(&arguments)
            .unwrap_or_else(|error| panic!("{arguments:?} of {text:?}: {error}"));
        if !tool.parameters.is_null() {
            assert!(judge(&tool.parameters).is_valid(&value), "{value} of {text:?}");
        }
        (name, value)
    });
    parsed.collect()
}

#[test]
fn required_calls_are_calls() {
    let tokenizer = vocabularies::bytes();
    let grammars = Grammars::new(&tokenizer).unwrap();
    for (name, source) in SOURCES {
        let dialogue = Format::of_template(source);
        assert_eq!(dialogue.call_syntax(), Some(*name));
        for (choice, wanted) in [
            (ToolChoice::Required, None),
            (ToolChoice::Named("weather".to_owned()), Some("weather")),
        ] {
            let tools = tools(choice);
            let mut whole = 0;
            for seed in 0..4 {
                let begins = Begins::AfterReasoning;
                let format = &OutputFormat::Free;
                let ask = Ask { format, tools: &tools, dialogue: &dialogue, begins };
                let answer = answer(&tokenizer, &grammars, &ask, seed);
                if answer.ended == Ended::Length {
                    continue;
                }
                whole += 1;
                let calls = calls(&dialogue, &tools, begins, &answer.text);
                assert!(!calls.is_empty(), "{name}: {:?}", answer.text);
                let wrong = calls.iter().find(|(name, _)| wanted.is_some_and(|w| w != name));
                assert!(wrong.is_none(), "{name}: {:?}", answer.text);
            }
            assert!(whole > 0, "{name}: no answer ended");
        }
    }
}

#[test]
fn free_text_may_become_a_call() {
    let tokenizer = vocabularies::bytes();
    let grammars = Grammars::new(&tokenizer).unwrap();
    for (name, source) in SOURCES {
        let dialogue = Format::of_template(source);
        let tools = tools(ToolChoice::Auto);
        let demand = Demand {
            format: &OutputFormat::Free,
            tools: &tools,
            dialogue: &dialogue,
            begins: Begins::AfterReasoning,
        };
        let Some(mut constraint) = grammars.constraint(&demand).unwrap() else {
            assert_eq!(*name, "functionary recipients");
            continue;
        };
        assert!(constraint.may_end(), "{name}");
        // Text as it likes, then what opens a call, then only what the call allows.
        let required = super::calls::tools(ToolChoice::Named("weather".to_owned()));
        let demand = Demand { tools: &required, ..demand };
        let other = grammars.constraint(&demand).unwrap().unwrap();
        let model = Model::new(&tokenizer);
        let mut written =
            (0..9).map(|seed| model.answer(&mut *other.duplicate(), seed, 400).unwrap());
        let written = written.find(|answer| answer.ended == Ended::Whole).expect("one ends");
        for byte in b"Well: " {
            constraint.accept(3 + u32::from(*byte)).unwrap();
        }
        for &token in &written.tokens {
            // The same text may be cut otherwise here, so only the text is compared.
            constraint.accept(token).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        assert!(constraint.may_end(), "{name}: {:?}", written.text);
    }
}

#[test]
fn reasoning_comes_first() {
    let tokenizer = vocabularies::bytes();
    let grammars = Grammars::new(&tokenizer).unwrap();
    let format = OutputFormat::Choice(vec!["done".to_owned()]);
    let tools = Tools::default();
    for (source, open, close) in
        [("<think></think>", "<think>", "</think>"), ("<|think|>", "<|think|>", "<|/think|>")]
    {
        let dialogue = Format::of_template(source);
        let token = |text: &str| tokenizer.token_id(text.as_bytes()).unwrap();
        let demand = |begins| {
            let demand = Demand { format: &format, tools: &tools, dialogue: &dialogue, begins };
            grammars.constraint(&demand).unwrap().unwrap()
        };
        let allowed = |constraint: &mut dyn lucid_engine::Constraint, text: &str| {
            let mut mask = lucid_engine::TokenMask::new(tokenizer.len());
            constraint.mask(&mut mask).unwrap();
            mask.allows(token(text))
        };
        let mut inside = demand(Begins::InReasoning);
        assert!(inside.forced().unwrap().is_empty() && !inside.may_end());
        assert!(allowed(&mut *inside, "Z") && allowed(&mut *inside, close));
        inside.accept(token("Z")).unwrap();
        inside.accept(token(close)).unwrap();
        assert!(!inside.forced().unwrap().is_empty() || allowed(&mut *inside, "d"));
        assert!(!allowed(&mut *inside, "Z"));
        let mut outside = demand(Begins::Outside);
        assert!(allowed(&mut *outside, open) && !allowed(&mut *outside, "Z"));
        outside.accept(token(open)).unwrap();
        assert!(allowed(&mut *outside, "Z") && !outside.may_end());
        let mut after = demand(Begins::AfterReasoning);
        assert!(!allowed(&mut *after, open));
    }
}

#[test]
fn what_cannot_be_called_is_refused() {
    let tokenizer = vocabularies::bytes();
    let grammars = Grammars::new(&tokenizer).unwrap();
    let refusal = |source: &str, tools: &Tools| -> ProviderError {
        let dialogue = Format::of_template(source);
        let (format, begins) = (&OutputFormat::Free, Begins::Outside);
        let demand = Demand { format, tools, dialogue: &dialogue, begins };
        grammars.constraint(&demand).err().expect("it is refused")
    };
    let check = |error: ProviderError, text: &str| {
        assert!(error.to_string().contains(text), "{error}");
    };
    check(refusal("no calls", &tools(ToolChoice::Required)), "no calls of tools");
    check(refusal("<tool_call>", &tools(ToolChoice::Named("none".into()))), "no tool `none`");
    let none = Tools { list: Vec::new(), ..tools(ToolChoice::Required) };
    check(refusal("<tool_call>", &none), "there is no tool");
    let mut wrong = tools(ToolChoice::Auto);
    wrong.list[0].parameters = json!({"type": "object", "not": {}});
    check(refusal("<tool_call>", &wrong), "tool `search`: `not` at #");
    let mut bare = tools(ToolChoice::Required);
    bare.list[0].parameters["properties"]["query"] = json!({"type": "string", "minLength": 3});
    check(refusal("<function=<parameter=", &bare), "`minLength` of an argument");
}
