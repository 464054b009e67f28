//! Requests become turns, pieces become events.

use lucid_provider::{
    Delta, Effort, Message, OutputFormat, Prompt, Provider, Stop, ToolCall, ToolChoice, Turn,
    Usage, scripted::Scripted,
};
use serde_json::{Value, json};

use super::events::{Event, Events, whole};
use super::request::{self, Asked, Purpose};
use crate::json::Node;
use crate::refusal::{Kind, Refusal};

/// A request that is right, with these fields put in or (null) taken out.
fn body(changes: Value) -> Value {
    let mut body = json!({
        "model": "m",
        "max_tokens": 16,
        "messages": [{"role": "user", "content": "Hi"}],
    });
    if let Value::Object(changes) = changes {
        for (name, value) in changes {
            body[name] = value;
        }
    }
    body
}

fn read(body: Value, purpose: Purpose) -> Result<Asked, Refusal> {
    request::read(Node::body(body).fields()?, purpose)
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "callers write `json!` in place")]
fn turn(changes: Value) -> Turn {
    match read(body(changes.clone()), Purpose::Answer) {
        Ok(asked) => asked.turn,
        Err(refusal) => panic!("{changes}: {refusal:?}"),
    }
}

#[track_caller]
fn messages(changes: Value) -> (Vec<Message>, bool) {
    match turn(changes).prompt {
        Prompt::Chat { messages, continues, .. } => (messages, continues),
        other => panic!("{other:?}"),
    }
}

#[test]
fn fields_of_a_request() {
    let turn = turn(json!({
        "temperature": 0.5, "top_p": 0.9, "top_k": 7, "stop_sequences": ["a", "b"],
        "metadata": {"user_id": "x"}, "service_tier": "auto",
        "tools": [{"name": "add", "description": "adds", "input_schema": {"type": "object"},
                   "cache_control": {"type": "ephemeral"}}],
        "tool_choice": {"type": "tool", "name": "add", "disable_parallel_tool_use": true},
        "thinking": {"type": "enabled", "budget_tokens": 8},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "string"}}},
    }));
    assert_eq!(turn.new_tokens_max, Some(16));
    assert_eq!(turn.sampling.temperature, Some(0.5));
    assert_eq!((turn.sampling.top_p, turn.sampling.top_k), (Some(0.9), Some(7)));
    assert_eq!(turn.stops, ["a", "b"]);
    assert_eq!(turn.tools.list[0].name, "add");
    assert_eq!(turn.tools.list[0].parameters, json!({"type": "object"}));
    assert_eq!(turn.tools.choice, ToolChoice::Named("add".to_owned()));
    assert!(!turn.tools.parallel);
    assert_eq!(turn.effort, Effort::On { tokens_max: Some(8) });
    assert_eq!(turn.format, OutputFormat::JsonSchema(json!({"type": "string"})));
}

#[test]
fn without_a_word_nothing_is_set() {
    let turn = turn(json!({}));
    assert_eq!(turn.sampling, lucid_provider::Sampling::default());
    assert_eq!((turn.effort, turn.format), (Effort::Off, OutputFormat::Free));
    assert_eq!(turn.tools.choice, ToolChoice::Auto);
    assert!(turn.tools.parallel && turn.tools.list.is_empty());
}

#[test]
fn refusals_name_the_field() {
    let tool = json!({"name": "t", "input_schema": {}});
    for (changes, field) in [
        (json!({"model": null}), "model"),
        (json!({"max_tokens": null}), "max_tokens"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"max_tokens": -1}), "max_tokens"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": [{"role": "robot", "content": "x"}]}), "messages[0].role"),
        (json!({"messages": [{"role": "user"}]}), "messages[0].content"),
        (json!({"messages": [{"role": "user", "content": 5}]}), "messages[0].content"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image"}]}]}),
            "messages[0].content[0].type",
        ),
        (
            json!({"messages": [{"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "gone"}]}]}),
            "messages[0].content[0].tool_use_id",
        ),
        (
            json!({"messages": [{"role": "assistant", "content": [
                {"type": "tool_use", "id": "1", "name": "t", "input": {}}]}]}),
            "messages[0]",
        ),
        (json!({"system": [{"type": "image"}]}), "system[0].type"),
        (json!({"stop_sequences": [""]}), "stop_sequences[0]"),
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"top_p": 1.5}), "top_p"),
        (json!({"top_k": -1}), "top_k"),
        (json!({"tools": [tool, tool]}), "tools[1]"),
        (json!({"tools": [{"name": "a b", "input_schema": {}}]}), "tools[0].name"),
        (json!({"tools": [{"name": "a"}]}), "tools[0].input_schema"),
        (json!({"tools": [{"type": "bash_20250124", "name": "bash"}]}), "tools[0].type"),
        (json!({"tool_choice": {"type": "any"}}), "tool_choice.name"),
        (json!({"tool_choice": {"type": "tool", "name": "t"}}), "tool_choice.name"),
        (json!({"tool_choice": {"type": "some"}}), "tool_choice.type"),
        (json!({"thinking": {"type": "enabled", "budget_tokens": 16}}), "thinking.budget_tokens"),
        (json!({"thinking": {"type": "enabled"}}), "thinking.budget_tokens"),
        (json!({"mcp_servers": [{}]}), "mcp_servers"),
        (json!({"stream": 1}), "stream"),
    ] {
        let Err(refusal) = read(body(changes.clone()), Purpose::Answer) else {
            panic!("{changes} was taken");
        };
        assert_eq!(refusal.field.as_deref(), Some(field), "{changes}: {}", refusal.message);
        assert_eq!(refusal.kind, Kind::Invalid, "{changes}");
    }
}

#[test]
fn counting_needs_no_max_tokens() {
    let counted = read(body(json!({"max_tokens": null})), Purpose::Count).unwrap();
    assert_eq!(counted.turn.new_tokens_max, None);
}

#[test]
fn speakers_alternate() {
    let (list, continues) = messages(json!({
        "system": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}],
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "user", "content": [{"type": "text", "text": "b"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "redacted_thinking", "data": "?"},
                {"type": "text", "text": "c"}]},
        ],
    }));
    assert!(continues);
    assert_eq!(list[0], Message::text("system", "Be\nbrief."));
    assert_eq!(list[1], Message::text("user", "a\nb"));
    assert_eq!((list[2].role.as_str(), list[2].content.as_deref()), ("assistant", Some("c")));
    assert_eq!(list[2].reasoning.as_deref(), Some("hm"));
    assert_eq!(list.len(), 3);
}

#[test]
fn results_follow_their_calls() {
    let (list, continues) = messages(json!({"messages": [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "call_1", "name": "add", "input": {"a": 2}},
            {"type": "tool_use", "id": "call_2", "name": "mul", "input": {}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "call_1", "content": "4"},
            {"type": "tool_result", "tool_use_id": "call_2", "is_error": true,
             "content": [{"type": "text", "text": "no"}]},
            {"type": "text", "text": "and?"}]},
    ]}));
    assert!(!continues);
    let call =
        ToolCall { id: "call_1".to_owned(), name: "add".to_owned(), arguments: json!({"a": 2}) };
    assert_eq!(list[1].tool_calls[0], call);
    let told = |index: usize| {
        let message: &Message = &list[index];
        let parts = [&message.name, &message.tool_call_id, &message.content];
        (message.role.as_str(), parts.map(|part| part.as_deref().unwrap_or("-")))
    };
    assert_eq!(told(2), ("tool", ["add", "call_1", "4"]));
    assert_eq!(told(3), ("tool", ["mul", "call_2", "error: no"]));
    assert_eq!(told(4), ("user", ["-", "-", "and?"]));
}

fn usage() -> Usage {
    Usage { prompt_tokens: 10, cached_tokens: 4, new_tokens: 3, ..Usage::default() }
}

/// One answer with everything in it.
fn script() -> Vec<Delta> {
    let (sample, tokens) = (0, Vec::new());
    vec![
        Delta::Begun { prompt_tokens: 10, cached_tokens: 4 },
        Delta::Reasoning { sample, text: "so".to_owned(), tokens: tokens.clone() },
        Delta::Signature { sample, signature: "sig".to_owned() },
        Delta::Text { sample, text: "Hel".to_owned(), tokens: tokens.clone() },
        Delta::Text { sample, text: String::new(), tokens: tokens.clone() },
        Delta::Text { sample, text: "lo".to_owned(), tokens },
        Delta::CallBegun { sample, index: 0, id: "c0".to_owned(), name: "add".to_owned() },
        Delta::CallArguments { sample, index: 0, json: "{\"a\":".to_owned() },
        Delta::CallArguments { sample, index: 0, json: "2}".to_owned() },
        Delta::CallBegun { sample, index: 1, id: "c1".to_owned(), name: "mul".to_owned() },
        Delta::Finished { sample, stop: Stop::ToolCalls, usage: usage() },
    ]
}

fn events(script: Vec<Delta>) -> Vec<Event> {
    let provider = Scripted::new("m").then(script.into_iter().map(Ok).collect());
    let mut answers = provider.generate(Turn::default()).unwrap();
    let mut state = Events::new("msg_1", "m");
    let mut events = Vec::new();
    while let Some(delta) = answers.wait() {
        events.extend(state.of(&delta.unwrap()));
    }
    events
}

#[test]
fn events_come_in_the_order_of_the_protocol() {
    let brief = |(name, data): &Event| {
        assert_eq!(data["type"], *name);
        let part = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match *name {
            "content_block_start" => format!("+{} {}", data["index"], data["content_block"]),
            "content_block_delta" => {
                let delta = &data["delta"];
                let text = ["text", "thinking", "signature", "partial_json"];
                let text: String = text.iter().map(|field| part(&delta[*field])).collect();
                format!(".{} {} {text}", data["index"], part(&delta["type"]))
            }
            "content_block_stop" => format!("-{}", data["index"]),
            _ => (*name).to_owned(),
        }
    };
    let found: Vec<String> = events(script()).iter().map(brief).collect();
    let expected = [
        "message_start",
        "ping",
        r#"+0 {"type":"thinking","thinking":"","signature":""}"#,
        ".0 thinking_delta so",
        ".0 signature_delta sig",
        "-0",
        r#"+1 {"type":"text","text":""}"#,
        ".1 text_delta Hel",
        ".1 text_delta lo",
        "-1",
        r#"+2 {"type":"tool_use","id":"c0","name":"add","input":{}}"#,
        ".2 input_json_delta ",
        r#".2 input_json_delta {"a":"#,
        ".2 input_json_delta 2}",
        "-2",
        r#"+3 {"type":"tool_use","id":"c1","name":"mul","input":{}}"#,
        ".3 input_json_delta ",
        "-3",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(found, expected);
}

#[test]
fn known_tokens_are_counted_apart() {
    let events = events(script());
    let start = &events[0].1["message"];
    assert_eq!(start["usage"]["input_tokens"], 6);
    assert_eq!(start["usage"]["cache_read_input_tokens"], 4);
    assert_eq!(start["stop_reason"], Value::Null);
    let end = &events[events.len() - 2].1;
    assert_eq!(end["delta"], json!({"stop_reason": "tool_use", "stop_sequence": null}));
    assert_eq!(end["usage"]["output_tokens"], 3);
}

#[test]
fn a_whole_answer_has_the_same_blocks() {
    let provider = Scripted::new("m").then(script().into_iter().map(Ok).collect());
    let answers = provider.generate(Turn::default()).unwrap().gather_here().unwrap();
    let message = whole("msg_1", "m", &answers[0]);
    let expected = json!([
        {"type": "thinking", "thinking": "so", "signature": "sig"},
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "c0", "name": "add", "input": {"a": 2}},
        {"type": "tool_use", "id": "c1", "name": "mul", "input": {}},
    ]);
    assert_eq!(message["content"], expected);
    assert_eq!(message["stop_reason"], "tool_use");
}

#[test]
fn reasons_to_stop() {
    for (stop, reason, sequence) in [
        (Stop::End, "end_turn", None),
        (Stop::Text("##".to_owned()), "stop_sequence", Some("##")),
        (Stop::Length, "max_tokens", None),
        (Stop::ContextFull, "model_context_window_exceeded", None),
        (Stop::Refused, "refusal", None),
    ] {
        let end = Delta::Finished { sample: 0, stop, usage: usage() };
        let data = &events(vec![end])[0].1;
        assert_eq!(data["delta"], json!({"stop_reason": reason, "stop_sequence": sequence}));
    }
}
