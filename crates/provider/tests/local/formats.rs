//! Formats, calls and reasoning, on models that know nothing of them: the format alone makes it so.

use lucid_provider::{
    Effort, Message, OutputFormat, Prompt, Provider as _, ProviderError, Stop, Tool, ToolChoice,
    Tools, Turn,
};
use lucid_tensor::{MetaArray, MetaValue};
use serde_json::{Value, json};

use crate::fixture::{answer, answers, greedy, options, seeded, stories, text, tiny_with};
use crate::tiny::{Tiny, byte_alphabet};

/// A model whose template writes calls and reasoning between tags.
fn tagged(end: &str) -> lucid_provider::local::Local {
    tagged_with(end, |tiny| tiny)
}

fn tagged_with(end: &str, change: impl FnOnce(Tiny) -> Tiny) -> lucid_provider::local::Local {
    let template = format!(
        "{{% if tools %}}<tool_call>{{{{ tools | tojson }}}}</tool_call>{{% endif %}}\
         {{% for m in messages %}}<|im_start|>{{{{ m.role }}}}\n{{{{ m.content }}}}<|im_end|>\n\
         {{% endfor %}}{{% if messages | length > 9 %}}</think>{{% endif %}}\
         <|im_start|>assistant\n{end}"
    );
    let template = MetaValue::Text(template);
    tiny_with(|tiny| change(tiny).with("tokenizer.chat_template", template), &options())
}

/// The one token beside the bytes, of this kind (1 is text, 3 a control token, 4 is text that is
/// never cut), made by this merge.
fn with_token(tiny: Tiny, token: &str, kind: i64, merge: &str) -> Tiny {
    let mut tokens: Vec<String> = byte_alphabet().iter().map(char::to_string).collect();
    tokens.extend([token, "<|bos|>", "<|im_start|>", "<|im_end|>"].map(str::to_owned));
    let mut kinds = vec![1; 256];
    kinds.extend([kind, 3, 3, 3]);
    let merges: Vec<_> = (!merge.is_empty()).then(|| merge.to_owned()).into_iter().collect();
    let tiny = tiny.with("tokenizer.ggml.tokens", MetaValue::Array(MetaArray::texts(tokens)));
    let tiny = tiny.with("tokenizer.ggml.token_type", MetaValue::Array(MetaArray::signed(kinds)));
    tiny.with("tokenizer.ggml.merges", MetaValue::Array(MetaArray::texts(merges)))
        .with("tokenizer.ggml.pre", MetaValue::Text("llama-bpe".to_owned()))
}

fn chat() -> Turn {
    let prompt = Prompt::chat(vec![Message::text("user", "x")]);
    Turn { prompt, sampling: greedy(), new_tokens_max: Some(300), ..Turn::default() }
}

#[test]
fn answers_keep_to_their_format() {
    let Some(local) = stories(&options()) else { return };
    let check = |format: OutputFormat, fits: &dyn Fn(&str) -> bool| {
        for seed in 0..4 {
            let mut turn = text("Once upon a time", 200, seeded(seed));
            turn.format = format.clone();
            let answer = answer(&local, turn);
            assert!(fits(&answer.text), "{format:?}: {:?}", answer.text);
            assert_eq!(answer.stop, Some(Stop::End), "{format:?}");
        }
    };
    check(OutputFormat::Choice(vec!["yes".into(), "no".into()]), &|it| it == "yes" || it == "no");
    let digits = |it: &str| it.len() == 3 && it.bytes().all(|byte| byte.is_ascii_digit());
    check(OutputFormat::Regex("[0-9]{3}".into()), &digits);
    let schema = json!({
        "type": "object",
        "properties": { "n": { "enum": [1, 2, "three"] } },
        "required": ["n"],
        "additionalProperties": false,
    });
    let fits = |it: &str| {
        let value: Value = serde_json::from_str(it).unwrap();
        [json!(1), json!(2), json!("three")].contains(&value["n"])
    };
    check(OutputFormat::JsonSchema(schema), &fits);
    let gbnf = OutputFormat::Gbnf("root ::= \"a\" (\"x\" | \"yy\") \"c\"".into());
    check(gbnf, &|it| it == "axc" || it == "ayyc");
    let mut turn = text("Once", 5, greedy());
    turn.format = OutputFormat::Regex("(".into());
    let error = local.generate(turn).unwrap_err();
    assert!(matches!(error, ProviderError::Grammar { .. }), "{error:?}");
}

#[test]
fn samples_keep_to_their_format_each() {
    let Some(local) = stories(&options()) else { return };
    let mut turn = text("Once upon a time", 50, seeded(1));
    turn.format = OutputFormat::Regex("[a-z]{4}".into());
    turn.samples = 5;
    let answers = answers(&local, turn);
    assert!(answers.iter().all(|answer| answer.text.len() == 4), "{answers:?}");
    assert!(answers.iter().any(|answer| answer.text != answers[0].text), "{answers:?}");
}

#[test]
fn a_call_that_is_required_is_made() {
    let local = tagged("");
    assert!(local.card().capabilities.tools);
    let parameters = json!({
        "type": "object",
        "properties": { "city": { "enum": ["Bern", "Rome"] } },
        "required": ["city"],
        "additionalProperties": false,
    });
    let tool = Tool { name: "weather".to_owned(), description: None, parameters };
    let mut turn = chat();
    turn.tools = Tools { list: vec![tool], choice: ToolChoice::Required, parallel: false };
    let called = answer(&local, turn);
    assert_eq!((called.text.as_str(), called.stop), ("", Some(Stop::ToolCalls)));
    assert_eq!(called.calls.len(), 1);
    let call = called.calls[0].parsed();
    assert_eq!((call.name.as_str(), call.id.len()), ("weather", 9));
    assert!(["Bern", "Rome"].contains(&call.arguments["city"].as_str().unwrap()), "{call:?}");
}

#[test]
fn reasoning_is_told_apart() {
    let local = tagged("<think>{{ '\n' }}");
    assert!(local.card().capabilities.reasoning);
    let thought = answer(&local, chat());
    assert_eq!((thought.reasoning.as_str(), thought.text.as_str()), ("Hi!", ""));
    assert_eq!((thought.usage.reasoning_tokens, thought.usage.new_tokens), (3, 3));
    // Stop texts are looked for in what is said.
    let stopped = answer(&local, Turn { stops: vec!["i".to_owned()], ..chat() });
    assert_eq!((stopped.reasoning.as_str(), stopped.stop), ("Hi!", Some(Stop::End)));
}

#[test]
fn reasoning_ends_when_its_tokens_are_spent() {
    let local = tagged("<think>{{ '\n' }}");
    let effort = Effort::On { tokens_max: Some(2) };
    let short = answer(&local, Turn { effort, ..chat() });
    assert_eq!(short.reasoning, "Hi");
    assert!(short.usage.new_tokens > 2, "{short:?}");
    assert!(!short.text.contains("</think>"), "{short:?}");
}

#[test]
fn a_reasoning_that_is_closed_gives_way_to_the_format() {
    let words = "<think>{{ '\n' }}";
    let check = |name: &str, end: &str, token: &str, kind: i64, merge: &str| {
        let local = tagged_with(end, |tiny| with_token(tiny, token, kind, merge));
        let effort = Effort::On { tokens_max: Some(2) };
        let format = OutputFormat::JsonSchema(json!({ "enum": ["yes", "no"] }));
        let said = answer(&local, Turn { effort, format, ..chat() });
        assert_eq!(said.usage.reasoning_tokens, 2, "{name}: {said:?}");
        assert!(!said.reasoning.contains("think"), "{name}: {said:?}");
        assert!(["\"yes\"", "\"no\""].contains(&&*said.text), "{name}: {said:?}");
        assert_eq!(said.stop, Some(Stop::End), "{name}");
        let tool = Tool { name: "go".to_owned(), parameters: no_arguments(), ..Tool::default() };
        let choice = ToolChoice::Required;
        let tools = Tools { list: vec![tool], choice, parallel: false };
        let called = answer(&local, Turn { effort, tools, ..chat() });
        assert_eq!((called.calls.len(), called.text.trim()), (1, ""), "{name}: {called:?}");
        assert_eq!(called.stop, Some(Stop::ToolCalls), "{name}");
    };
    check("text", words, "he", 1, "h e");
    // What ends the mark would run on into the line break.
    check("text that is merged", words, ">\u{10a}", 1, "> \u{10a}");
    check("text that is a token", words, "</think>", 4, "");
    check("a control token", words, "</think>", 3, "");
    check("a control token on no line", "<|think|>{{ '\n' }}", "<|/think|>", 3, "");
}

fn no_arguments() -> Value {
    json!({ "type": "object", "properties": {}, "additionalProperties": false })
}
