//! Requests become turns, pieces become lines.

use std::time::Duration;

use lucid_provider::{
    Delta, Effort, LogProbs, Message, OutputFormat, Prompt, Provider, Sampling, Spoken,
    SpokenLogProb, Stop, Text, Turn, Usage, scripted::Scripted,
};
use serde_json::{Value, json};

use super::lines::{Lines, Moment, Shape, whole};
use super::request::{self, Asked, Generate, KeepAlive, Templated, Work};
use crate::json::Node;
use crate::refusal::Refusal;

fn generate(body: Value) -> Result<Asked, Refusal> {
    Generate::read(Node::body(body).fields()?)?.of(Templated::Yes)
}

fn chat(body: Value) -> Result<Asked, Refusal> {
    request::chat(Node::body(body).fields()?)
}

#[track_caller]
fn turn(asked: Result<Asked, Refusal>) -> Turn {
    match asked.map(|asked| asked.work) {
        Ok(Work::Answer(turn)) => *turn,
        other => panic!("{other:?}"),
    }
}

#[test]
fn options_set_the_sampling() {
    let turn = turn(generate(json!({
        "model": "m", "prompt": "Hi", "format": "json", "think": false,
        "logprobs": true, "top_logprobs": 3,
        "options": {
            "temperature": 0.5, "top_k": 7, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.8,
            "repeat_penalty": 1.1, "repeat_last_n": -1, "presence_penalty": 0.2,
            "frequency_penalty": 0.3, "seed": 42, "num_predict": 9, "stop": "x",
            "num_ctx": 4096, "mirostat": 0, "num_gpu": 99, "unheard_of": [],
        },
    })));
    let expected = Sampling {
        temperature: Some(0.5),
        top_k: Some(7),
        top_p: Some(0.9),
        min_p: Some(0.1),
        typical_p: Some(0.8),
        repeat_penalty: Some(1.1),
        penalty_last_n: Some(usize::MAX),
        presence_penalty: Some(0.2),
        frequency_penalty: Some(0.3),
        seed: Some(42),
        ..Sampling::default()
    };
    assert_eq!(turn.sampling, expected);
    assert_eq!((turn.new_tokens_max, turn.stops), (Some(9), vec!["x".to_owned()]));
    assert_eq!((turn.format, turn.effort), (OutputFormat::JsonObject, Effort::Off));
    assert_eq!(turn.log_probs, Some(LogProbs { alternatives: 3, prompt: false }));
}

#[test]
fn numbers_below_zero_mean_without_bound() {
    let options = json!({"num_predict": -1, "seed": -1, "repeat_last_n": 0});
    let turn = turn(generate(json!({"model": "m", "prompt": "Hi", "options": options})));
    assert_eq!((turn.new_tokens_max, turn.sampling.seed), (None, None));
    assert_eq!(turn.sampling.penalty_last_n, Some(0));
}

#[test]
fn prompts() {
    let check = |mut body: Value, templated: Templated, expected: Prompt| {
        body["model"] = "m".into();
        let asked = Generate::read(Node::body(body.clone()).fields().unwrap())
            .and_then(|generate| generate.of(templated));
        assert_eq!(turn(asked).prompt, expected, "{body}");
    };
    let chat = vec![Message::text("system", "S"), Message::text("user", "P")];
    check(json!({"prompt": "P", "system": "S"}), Templated::Yes, Prompt::chat(chat));
    check(json!({"prompt": "P"}), Templated::No, Prompt::text("P"));
    let raw = Prompt::Text(Text { text: "P".to_owned(), control: true });
    check(json!({"prompt": "P", "raw": true}), Templated::Yes, raw);
    let infill = Prompt::Infill { prefix: "P".to_owned(), suffix: "S".to_owned() };
    check(json!({"prompt": "P", "suffix": "S"}), Templated::Yes, infill);
}

#[test]
fn refusals_name_the_field() {
    let generated = |changes: Value| generate(with(json!({"model": "m", "prompt": "P"}), changes));
    let message = json!({"role": "user", "content": "Hi"});
    let said = |changes: Value| chat(with(json!({"model": "m", "messages": [message]}), changes));
    for (asked, field) in [
        (generated(json!({"model": null})), "model"),
        (generated(json!({"images": ["aGk="]})), "images"),
        (generated(json!({"template": "{{ .Prompt }}"})), "template"),
        (generated(json!({"context": [-1]})), "context[0]"),
        (generated(json!({"format": "yaml"})), "format"),
        (generated(json!({"think": "hard"})), "think"),
        (generated(json!({"keep_alive": "soon"})), "keep_alive"),
        (generated(json!({"options": {"mirostat": 2}})), "options.mirostat"),
        (generated(json!({"options": {"num_predict": -3}})), "options.num_predict"),
        (generated(json!({"options": {"temperature": -1}})), "options.temperature"),
        (generated(json!({"options": {"stop": [""]}})), "options.stop"),
        (said(json!({"messages": [{"role": "robot"}]})), "messages[0].role"),
        (said(json!({"messages": [{"role": "user", "images": ["x"]}]})), "messages[0].images"),
        (said(json!({"tools": [{"type": "web"}]})), "tools[0].type"),
        (said(json!({"tools": [{"function": {}}]})), "tools[0].function.name"),
        (
            said(json!({"messages": [{"role": "assistant", "tool_calls": [
                {"function": {"name": "f", "arguments": "{}"}}]}]})),
            "messages[0].tool_calls[0].function.arguments",
        ),
    ] {
        let refusal = asked.expect_err(field);
        assert_eq!(refusal.field.as_deref(), Some(field), "{}", refusal.message);
    }
}

fn with(mut body: Value, changes: Value) -> Value {
    if let Value::Object(changes) = changes {
        for (name, value) in changes {
            body[name] = value;
        }
    }
    body
}

#[test]
fn lengths_of_time() {
    let seconds = |seconds: f64| Some(KeepAlive::For(Duration::from_secs_f64(seconds)));
    for (written, expected) in [
        (json!(null), None),
        (json!(0), seconds(0.0)),
        (json!(90), seconds(90.0)),
        (json!(-1), Some(KeepAlive::Forever)),
        (json!("-1"), Some(KeepAlive::Forever)),
        (json!("-1m"), Some(KeepAlive::Forever)),
        (json!("5m"), seconds(300.0)),
        (json!("1h30m"), seconds(5400.0)),
        (json!("1.5s"), seconds(1.5)),
        (json!("250ms"), seconds(0.25)),
        (json!(1e300), Some(KeepAlive::Forever)),
    ] {
        let asked = generate(json!({"model": "m", "prompt": "P", "keep_alive": written}));
        assert_eq!(asked.unwrap().keep_alive, expected, "{written}");
    }
    for wrong in [json!("5"), json!("m"), json!("5x"), json!([]), json!(true), json!("1e999")] {
        let asked = generate(json!({"model": "m", "prompt": "P", "keep_alive": wrong}));
        assert_eq!(asked.is_ok(), wrong == json!("5"), "{wrong}");
    }
}

#[test]
fn an_empty_prompt_loads() {
    for asked in [generate(json!({"model": "m"})), chat(json!({"model": "m", "messages": []}))] {
        let asked = asked.unwrap();
        assert!(matches!(asked.work, Work::Load) && asked.stream, "{asked:?}");
    }
}

#[test]
fn a_conversation_with_tools() {
    let turn = turn(chat(json!({
        "model": "m",
        "tools": [{"type": "function", "function": {"name": "add", "parameters": {}}}],
        "messages": [
            {"role": "user", "content": "2+2?"},
            {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [
                {"id": "1", "function": {"name": "add", "arguments": {"a": 2}}}]},
            {"role": "tool", "content": "4", "tool_call_id": "1"},
            {"role": "assistant", "content": "It is"},
        ],
    })));
    let Prompt::Chat { messages, continues, .. } = turn.prompt else {
        panic!("no conversation");
    };
    assert!(continues);
    assert_eq!(messages[1].tool_calls[0].arguments, json!({"a": 2}));
    assert_eq!(messages[1].reasoning.as_deref(), Some("hm"));
    assert_eq!(messages[2].name.as_deref(), Some("add"));
    assert_eq!(turn.tools.list[0].name, "add");
}

fn script() -> Vec<Delta> {
    let sample = 0;
    let token = Spoken {
        token: Some(1),
        bytes: b"Hel".to_vec(),
        log_prob: Some(SpokenLogProb {
            value: -0.5,
            alternatives: vec![(Some(1), b"Hel".to_vec(), -0.5)],
        }),
    };
    let usage = Usage { prompt_tokens: 10, new_tokens: 3, ..Usage::default() };
    vec![
        Delta::Begun { prompt_tokens: 10, cached_tokens: 4 },
        Delta::Reasoning { sample, text: "so".to_owned(), tokens: Vec::new() },
        Delta::Text { sample, text: "Hel".to_owned(), tokens: vec![token] },
        Delta::Text { sample, text: "lo".to_owned(), tokens: Vec::new() },
        Delta::CallBegun { sample, index: 0, id: "c0".to_owned(), name: "add".to_owned() },
        Delta::CallArguments { sample, index: 0, json: "{\"a\":".to_owned() },
        Delta::CallArguments { sample, index: 0, json: "2}".to_owned() },
        Delta::CallBegun { sample, index: 1, id: "c1".to_owned(), name: "mul".to_owned() },
        Delta::Finished { sample, stop: Stop::ToolCalls, usage },
    ]
}

/// The lines of the script; each piece takes a millisecond.
fn lines(shape: Shape) -> Vec<Value> {
    lines_of(script(), shape)
}

fn lines_of(script: Vec<Delta>, shape: Shape) -> Vec<Value> {
    let provider = Scripted::new("m").then(script.into_iter().map(Ok).collect());
    let mut answers = provider.generate(Turn::default()).unwrap();
    let mut lines = Lines::new(shape, "m", Duration::from_millis(1)).with_note(Some("careful"));
    let mut told = Vec::new();
    for millisecond in 2.. {
        let Some(delta) = answers.wait() else { break };
        let elapsed = Duration::from_millis(millisecond);
        told.extend(lines.of(delta.unwrap(), &Moment { wall: "now".to_owned(), elapsed }));
    }
    told
}

#[test]
fn lines_of_a_conversation() {
    let told = lines(Shape::Chat);
    let said: Vec<&Value> = told.iter().map(|line| &line["message"]).collect();
    let call = |id: &str, index: usize, name: &str, arguments: Value| {
        let function = json!({"index": index, "name": name, "arguments": arguments});
        json!([{"id": id, "function": function}])
    };
    let expected = [
        json!({"role": "assistant", "content": "", "thinking": "so"}),
        json!({"role": "assistant", "content": "Hel"}),
        json!({"role": "assistant", "content": "lo"}),
        json!({"role": "assistant", "content": "",
               "tool_calls": call("c0", 0, "add", json!({"a": 2}))}),
        json!({"role": "assistant", "content": "", "tool_calls": call("c1", 1, "mul", json!({}))}),
        json!({"role": "assistant", "content": ""}),
    ];
    assert_eq!(said, expected.iter().collect::<Vec<_>>());
    let done: Vec<bool> = told.iter().map(|line| line["done"] == true).collect();
    assert_eq!(done, [false, false, false, false, false, true]);
    assert_eq!(told[1]["logprobs"][0]["top_logprobs"][0]["logprob"], -0.5);
    let end = &told[5];
    assert_eq!((&end["done_reason"], &end["note"]), (&json!("stop"), &json!("careful")));
    assert_eq!((&end["prompt_eval_count"], &end["eval_count"]), (&json!(10), &json!(3)));
    assert_eq!(end["load_duration"], 1_000_000);
    assert_eq!(end["total_duration"], 10_000_000);
    assert_eq!(end["prompt_eval_duration"], 2_000_000);
    assert_eq!(end["eval_duration"], 7_000_000);
}

#[test]
fn a_call_that_a_limit_cut_off_is_none() {
    let calls = |json: &str, stop: Stop| {
        let mut script = script();
        script.truncate(5);
        script.push(Delta::CallArguments { sample: 0, index: 0, json: json.to_owned() });
        script.push(Delta::Finished { sample: 0, stop, usage: Usage::default() });
        let answer = whole(lines_of(script, Shape::Chat));
        answer["message"]["tool_calls"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(calls("{\"a\":", Stop::Length), 0);
    assert_eq!(calls("", Stop::ContextFull), 0);
    assert_eq!(calls("{\"a\":2}", Stop::Length), 1);
    assert_eq!(calls("", Stop::ToolCalls), 1, "a tool without parameters");
}

#[test]
fn all_lines_in_one() {
    let answer = whole(lines(Shape::Chat));
    assert_eq!(answer["message"]["content"], "Hello");
    assert_eq!(answer["message"]["thinking"], "so");
    assert_eq!(answer["message"]["tool_calls"].as_array().map(Vec::len), Some(2));
    assert_eq!(answer["logprobs"][0]["token"], "Hel");
    assert_eq!((&answer["done"], &answer["eval_count"]), (&json!(true), &json!(3)));
    let answer = whole(lines(Shape::Generate));
    assert_eq!((&answer["response"], &answer["thinking"]), (&json!("Hello"), &json!("so")));
    assert!(answer.get("message").is_none());
}
