//! Arbitrary bytes as a chat template over a fixed conversation, under small limits: no panic, hang
//! or large memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lucid_tokenizer::template::{ChatTemplate, Limits, Message, RenderOptions, ToolCall};

fuzz_target!(|data: &[u8]| {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let tokens = ["<|a|>", "<think>", "</s>"].map(str::to_owned);
    let Ok(template) = ChatTemplate::new(source, tokens, Some("<s>"), Some("</s>")) else { return };
    let call = ToolCall {
        id: "c1".to_owned(),
        name: "add".to_owned(),
        arguments: serde_json::json!({"a": [1, 2.5, null], "b": {"c": "<think>"}}),
    };
    let messages = [
        Message::text("system", "Be brief."),
        Message::text("user", " hello <|a|> "),
        Message {
            reasoning: Some("why".to_owned()),
            tool_calls: vec![call],
            ..Message::text("assistant", "x")
        },
        Message::text("tool", "3"),
    ];
    let limits = Limits {
        instructions: 20_000,
        memory_bytes: 1 << 20,
        memory_per_input_byte: 16,
        output_bytes: 1 << 16,
        recursion: 50,
    };
    let tools = vec![serde_json::json!({"type": "function", "function": {"name": "add"}})];
    let options =
        RenderOptions { add_generation_prompt: true, tools, limits, ..Default::default() };
    if let Ok(rendered) = template.render(&messages, &options) {
        for range in rendered.literal {
            assert!(rendered.text.get(range).is_some(), "ranges lie between characters");
        }
    }
});
