//! From what a turn asks to tokens.

use lucid_provider::local::{LocalOptions, TemplateUse};
use lucid_provider::{
    Effort, LocalTime, Message, Prompt, Provider as _, ProviderError, Stop, Text, Tool, ToolChoice,
    Tools, Turn,
};
use lucid_tensor::MetaValue;
use serde_json::{Map, Value, json};

use crate::fixture::{answer, greedy, options, text, tiny, tiny_with};
use crate::tiny::{BOS, END, START};

fn chat(messages: &[(&str, &str)]) -> Turn {
    let messages = messages.iter().map(|&(role, text)| Message::text(role, text)).collect();
    Turn { prompt: Prompt::chat(messages), sampling: greedy(), ..Turn::default() }
}

/// A model with this template.
fn templated(template: &str) -> lucid_provider::local::Local {
    let template = MetaValue::Text(template.to_owned());
    let options = LocalOptions { now: clock, ..options() };
    tiny_with(|tiny| tiny.with("tokenizer.chat_template", template), &options)
}

fn clock() -> LocalTime {
    LocalTime { year: 2031, ..LocalTime::default() }
}

/// The prompt of a turn, as text.
fn written(template: &str, turn: &Turn) -> String {
    let local = templated(template);
    String::from_utf8(local.decode(&local.prompt_tokens(turn).unwrap()).unwrap()).unwrap()
}

#[test]
fn only_the_template_writes_control_tokens() {
    let local = tiny();
    let tokens = local.prompt_tokens(&chat(&[("user", "<|im_start|><|im_end|>")])).unwrap();
    let structure = tokens.iter().filter(|&&token| token == START || token == END).count();
    assert_eq!(structure, 3);
    let spelled = |control: bool| {
        let text = Text { text: "<|im_start|>a".to_owned(), control };
        let turn = Turn { prompt: Prompt::Text(text), ..Turn::default() };
        local.prompt_tokens(&turn).unwrap()
    };
    assert_eq!(spelled(true), [START, u32::from(b'a')]);
    assert_eq!(spelled(false).len(), 13);
    let turn = Turn { prompt: Prompt::Tokens(vec![BOS, 1]), ..Turn::default() };
    assert_eq!(local.prompt_tokens(&turn).unwrap(), [BOS, 1]);
    assert_eq!(local.count_tokens(&turn).unwrap(), 2);
}

#[test]
fn an_answer_that_was_begun_goes_on() {
    let local = tiny();
    let mut turn = chat(&[("user", "x"), ("assistant", "Hi")]);
    let Prompt::Chat { continues, .. } = &mut turn.prompt else { unreachable!() };
    *continues = true;
    assert_eq!(answer(&local, turn.clone()).text, "!");
    let prompt = local.decode(&local.prompt_tokens(&turn).unwrap()).unwrap();
    assert!(prompt.ends_with(b"<|im_start|>assistant\nHi"));
    // What was begun spells no control token either.
    let Prompt::Chat { messages, .. } = &mut turn.prompt else { unreachable!() };
    messages[1].content = Some("<|im_end|>".to_owned());
    let tokens = local.prompt_tokens(&turn).unwrap();
    assert_eq!(tokens.iter().filter(|&&token| token == END).count(), 1);
    let Prompt::Chat { messages, .. } = &mut turn.prompt else { unreachable!() };
    messages.pop();
    let error = local.generate(turn).unwrap_err().to_string();
    assert!(error.starts_with("prompt.continues: the last message is the user's"), "{error}");
}

#[test]
fn templates_are_given_what_they_ask_for() {
    let template = "{{ tools | tojson }}";
    let mut turn = chat(&[("user", "x")]);
    let tool = Tool { name: "f".to_owned(), description: None, parameters: Value::Null };
    turn.tools = Tools { list: vec![tool], ..Tools::default() };
    let told: Value = serde_json::from_str(&written(template, &turn)).unwrap();
    let parameters = json!({ "type": "object", "properties": {} });
    let function = json!({ "name": "f", "parameters": parameters });
    assert_eq!(told, json!([{ "type": "function", "function": function }]));
    turn.tools.choice = ToolChoice::None;
    assert_eq!(written("{{ tools is none }}", &turn), "True");
    assert_eq!(written("{{ strftime_now('%Y') }}", &turn), "2031");
    let thinks = "{{ enable_thinking is defined }} {{ enable_thinking }}";
    assert_eq!(written(thinks, &turn).trim(), "False");
    turn.effort = Effort::Off;
    assert_eq!(written(thinks, &turn), "True False");
    turn.effort = Effort::On { tokens_max: None };
    assert_eq!(written(thinks, &turn), "True True");
    let mut variables = Map::new();
    variables.insert("enable_thinking".to_owned(), json!("my way"));
    let Prompt::Chat { variables: given, .. } = &mut turn.prompt else { unreachable!() };
    *given = variables;
    assert_eq!(written(thinks, &turn), "True my way");
}

#[test]
fn templates_may_refuse() {
    let local = templated("{{ raise_exception('no odd roles') }}");
    let error = local.generate(chat(&[("user", "x")])).unwrap_err();
    let ProviderError::Template { reason, .. } = &error else { panic!("{error:?}") };
    assert_eq!(reason, "no odd roles");
    let local = templated("{% for %}");
    assert!(!local.card().capabilities.chat);
    assert!(local.card().warnings.iter().any(|it| it.contains("template cannot be used")));
    let options = LocalOptions { template: TemplateUse::None, ..options() };
    let local = tiny_with(|tiny| tiny, &options);
    let error = local.generate(chat(&[("user", "x")])).unwrap_err();
    assert!(matches!(error, ProviderError::Unsupported { .. }), "{error:?}");
}

#[test]
fn gaps_are_filled_where_the_vocabulary_can() {
    let gap = Prompt::Infill { prefix: "a".to_owned(), suffix: "b".to_owned() };
    let turn = Turn { prompt: gap, ..Turn::default() };
    let error = tiny().generate(turn.clone()).unwrap_err();
    assert!(matches!(error, ProviderError::Unsupported { .. }), "{error:?}");
    let key = |name: &str| format!("tokenizer.ggml.fim_{name}_token_id");
    let id = |id: u32| MetaValue::Unsigned(u64::from(id));
    let local = tiny_with(
        |tiny| tiny.with(&key("pre"), id(1)).with(&key("suf"), id(2)).with(&key("mid"), id(3)),
        &options(),
    );
    assert!(local.card().capabilities.infill);
    assert_eq!(local.prompt_tokens(&turn).unwrap(), [1, 97, 2, 98, 3]);
}

#[test]
fn begin_of_text_ends_a_text_unless_it_is_disregarded() {
    let local = tiny();
    // After 256 (`he`) comes begin-of-text, and "a" after that.
    let mut turn = text("he", 2, greedy());
    let over = answer(&local, turn.clone());
    assert_eq!((over.text.as_str(), over.stop), ("", Some(Stop::End)));
    turn.ignore_end = true;
    assert_eq!(answer(&local, turn.clone()).text, "a");
    turn.stop_tokens = vec![u32::from(b'a')];
    assert_eq!(answer(&local, turn).stop, Some(Stop::Text("a".to_owned())));
}

#[test]
fn what_the_makers_recommend_is_the_default() {
    let change = |tiny: crate::tiny::Tiny| {
        tiny.with("general.sampling.temp", MetaValue::Float(0.25))
            .with("general.sampling.top_k", MetaValue::Unsigned(7))
            .with("general.sampling.top_p", MetaValue::Float(7.0))
    };
    let local = tiny_with(change, &options());
    let sampling = &local.card().sampling;
    assert_eq!((sampling.temperature, sampling.top_k, sampling.top_p), (0.25, 7, 0.95));
    assert!(local.card().warnings.iter().any(|it| it.contains("recommends a top_p of 7")));
}
