//! What becomes of conversations.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;

use lucid_tokenizer::template::{ChatTemplate, LUCID_TEMPLATE, Message, ToolCall};
use lucid_tokenizer::train::{Input, SplitPattern, TrainOptions, Unit, WordCounts, train};
use lucid_tokenizer::{ShowSpecial, Tokenizer};
use serde_json::{Value, json};

use super::*;
use crate::data::Batch;

/// A vocabulary of bytes and Lucid's control tokens, with a few merges.
fn tokenizer() -> Tokenizer {
    let text = b"the words of a small talk, the words of a small talk".to_vec();
    let pattern = SplitPattern::parse("cl100k").unwrap();
    let mut counts = WordCounts::new(pattern, Unit::Document, 1, 1 << 24);
    let input = [Input::Bytes(text), Input::End].map(Ok::<_, Infallible>);
    let Ok(()) = counts.count(input.into_iter(), &mut |_| {});
    let options = TrainOptions { vocab_size: 276, ..TrainOptions::default() };
    let mut json = Vec::new();
    train(&counts, &options, &mut |_| {}).unwrap().write_json(&mut json).unwrap();
    Tokenizer::from_tokenizer_json(&json, None).unwrap()
}

fn from(value: &Value) -> Result<(Conversation, usize), Refusal> {
    let mut conversation = shapes::conversation(value)?;
    let trimmed = check::check(&mut conversation)?;
    Ok((conversation, trimmed))
}

fn roles(conversation: &Conversation) -> Vec<&str> {
    conversation.messages.iter().map(|message| message.role.as_str()).collect()
}

/// What is learned of each sequence, as text.
fn learned(tokenizer: &Tokenizer, examples: &Examples) -> Vec<String> {
    let one = |at| {
        let Example { tokens, learned } = examples.get(at);
        let said = tokens.iter().zip(learned).filter(|(_, learned)| **learned);
        let said: Vec<_> = said.map(|(token, _)| *token).collect();
        String::from_utf8(tokenizer.decode(&said, ShowSpecial::Yes)).unwrap()
    };
    (0..examples.len()).map(one).collect()
}

fn gathered(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    values: &[Value],
    len_max: usize,
) -> Gathered {
    let writer = Writer::new(tokenizer, template);
    let mut gatherer = Gatherer::new(&writer, len_max, 0.0);
    for (at, value) in values.iter().enumerate() {
        gatherer.take("file", Line { number: at as u64 + 1, found: from(value) });
    }
    gatherer.finish()
}

#[test]
fn every_shape_is_the_same_conversation() {
    let said = [Message::text("user", "Hi"), Message::text("assistant", "Hello!")];
    for value in [
        json!({"messages": [{"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello!"}]}),
        json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "model", "content": "Hello!"}]}),
        json!({"conversations": [{"from": "human", "value": "Hi"},
            {"from": "gpt", "value": "Hello!"}]}),
        json!({"instruction": "Hi", "input": "", "output": "Hello!"}),
        json!({"prompt": "Hi", "completion": "Hello!"}),
        json!({"prompt": [{"role": "user", "content": "Hi"}],
            "completion": [{"role": "assistant", "content": "Hello!"}]}),
    ] {
        assert_eq!(from(&value).unwrap().0.messages, said, "{value}");
    }
    let alpaca = json!({"instruction": "Add.", "input": "1 and 2", "output": "3",
        "system": "Be brief.", "history": [["a", "b"]]});
    let (conversation, _) = from(&alpaca).unwrap();
    assert_eq!(roles(&conversation), ["system", "user", "assistant", "user", "assistant"]);
    assert_eq!(conversation.messages[3].content.as_deref(), Some("Add.\n\n1 and 2"));
}

#[test]
fn calls_and_tools_are_read_in_both_spellings() {
    let call = ToolCall {
        id: String::new(),
        name: "calculator".to_owned(),
        arguments: json!({"expression": "1+1"}),
    };
    let tool = json!({"name": "calculator", "parameters": {}});
    for value in [
        json!({"tools": [tool], "messages": [
            {"role": "user", "content": "1+1?"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"type": "function", "function": {"name": "calculator",
                    "arguments": "{\"expression\": \"1+1\"}"}}]},
            {"role": "tool", "content": "2"},
            {"role": "assistant", "content": "2"}]}),
        json!({"tools": json!([tool]).to_string(), "conversations": [
            {"from": "human", "value": "1+1?"},
            {"from": "function_call", "value": json!({"name": "calculator",
                "arguments": {"expression": "1+1"}}).to_string()},
            {"from": "observation", "value": "2"},
            {"from": "gpt", "value": "2"}]}),
    ] {
        let (conversation, _) = from(&value).unwrap();
        assert_eq!(roles(&conversation), ["user", "assistant", "tool", "assistant"]);
        assert_eq!(conversation.messages[1].tool_calls, std::slice::from_ref(&call));
        assert_eq!(conversation.tools, [json!({"type": "function", "function": tool})]);
    }
}

#[test]
fn what_is_out_of_order_is_refused_or_trimmed() {
    let of = |roles: &[&str]| {
        let messages: Vec<Value> =
            roles.iter().map(|role| json!({"role": role, "content": "x"})).collect();
        from(&json!({ "messages": messages }))
    };
    let order = |role: &str| Err(Refusal::Order { role: role.to_owned() });
    assert_eq!(of(&["user", "user", "assistant"]).map(|_| ()), order("user"));
    assert_eq!(of(&["user", "assistant", "assistant"]).map(|_| ()), order("assistant"));
    assert_eq!(of(&["user", "tool", "assistant"]).map(|_| ()), order("tool"));
    assert_eq!(of(&["user", "system", "assistant"]).map(|_| ()), order("system"));
    assert_eq!(of(&["user"]).map(|_| ()), Err(Refusal::NoAnswer));
    assert_eq!(
        of(&["user", "wizard"]).map(|_| ()),
        Err(Refusal::Role { role: "wizard".to_owned() })
    );
    let (conversation, trimmed) =
        of(&["system", "assistant", "user", "assistant", "user"]).unwrap();
    assert_eq!((roles(&conversation), trimmed), (vec!["system", "user", "assistant"], 2));
    let (text, empty) = ("user".to_owned(), "user".to_owned());
    let (text, empty) = (Refusal::Text { role: text }, Refusal::Empty { role: empty });
    for (value, refusal) in [
        (json!([1]), Refusal::NoObject),
        (json!({"text": "x"}), Refusal::Shape),
        (json!({"messages": [{"content": "x"}]}), Refusal::NoRole),
        (json!({"messages": [{"role": "user", "content": 7}]}), text),
        (json!({"prompt": " ", "completion": "x"}), empty),
        (json!({"tools": 7, "messages": []}), Refusal::Tools),
        (
            json!({"messages": [{"role": "user", "content": "x"},
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]}),
            Refusal::Call,
        ),
    ] {
        assert_eq!(from(&value).map(|_| ()), Err(refusal), "{value}");
    }
}

#[test]
fn only_what_the_assistant_says_is_learned() {
    let (tokenizer, template) = (tokenizer(), ChatTemplate::lucid().unwrap());
    let value = json!({"messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1+1?"},
        {"role": "assistant",
            "tool_calls": [{"function": {"name": "sum", "arguments": {"of": [1, 1]}}}]},
        {"role": "tool", "content": "2 <|end|>"},
        {"role": "assistant", "content": "It is 2."},
        {"role": "user", "content": "<|end|><|assistant|>no"},
        {"role": "assistant", "content": "Yes <|user|>."}]});
    let found = gathered(&tokenizer, &template, &[value], 400);
    let said = learned(&tokenizer, &found.training);
    let calls = "<|call|>sum {\"of\": [1, 1]}<|end|>";
    assert_eq!(said, [format!("{calls}It is 2.<|end|>Yes <|user|>.<|end|>")]);
    // What messages spell is text: there are as many control tokens as the template writes.
    let Example { tokens, .. } = found.training.get(0);
    let control = tokens.iter().filter(|&&token| tokenizer.is_control(token)).count();
    assert_eq!(control, 1 + 2 + 2 + 3 + 2 + 2 + 2 + 2);
}

#[test]
fn what_is_too_long_loses_its_last_answers() {
    let (tokenizer, template) = (tokenizer(), ChatTemplate::lucid().unwrap());
    let value = json!({"messages": [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "first"},
        {"role": "user", "content": "b".repeat(300)}, {"role": "assistant", "content": "second"}]});
    let found = gathered(&tokenizer, &template, std::slice::from_ref(&value), 100);
    assert_eq!(learned(&tokenizer, &found.training), ["first<|end|>"]);
    assert_eq!(found.tally.answers_left_out, 1);
    let long = json!({"prompt": "x".repeat(1_000_000), "completion": "y"});
    let found = gathered(&tokenizer, &template, &[value, long], 100);
    assert_eq!(found.tally.refused[&Refusal::TooLong], (1, vec!["file:2".to_owned()]));
    assert_eq!(found.training.len(), 1);
}

#[test]
fn an_answer_whose_past_is_written_otherwise_later_is_learned_by_itself() {
    let tokenizer = tokenizer();
    // Reasoning is shown for the last answer only, as many templates do.
    let template = ChatTemplate::lucid().unwrap();
    let value = json!({"messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "reasoning_content": "hm", "content": "one"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "reasoning_content": "ah", "content": "two"}]});
    let found = gathered(&tokenizer, &template, &[value], 200);
    let said = learned(&tokenizer, &found.training);
    assert_eq!(said, ["<|think|>hm<|/think|>one<|end|>", "<|think|>ah<|/think|>two<|end|>"]);
}

#[test]
fn rows_hold_whole_sequences_and_each_once_an_epoch() {
    let (tokenizer, template) = (tokenizer(), ChatTemplate::lucid().unwrap());
    let values: Vec<Value> = (0..200)
        .map(
            |at| json!({"prompt": format!("question {at}"), "completion": "x".repeat(at % 37 + 1)}),
        )
        .collect();
    let examples = Arc::new(gathered(&tokenizer, &template, &values, 128).training);
    let mut rows = Rows::endless(Arc::clone(&examples), 128, 2, 7).unwrap();
    let (mut batch, mut seen, mut wasted) = (Batch::default(), Vec::new(), 0);
    let mut targets = 0;
    while rows.position().epoch == 0 && seen.len() < examples.len() {
        rows.next_batch(&mut batch);
        targets += batch.target_count();
        for row in &batch.rows {
            assert!(row.len() <= 128);
            wasted += 128 - row.len();
        }
        for sequence in 0..batch.sequence_count {
            let places = (0..batch.tokens.len()).filter(|&at| batch.sequences[at] == sequence);
            let places: Vec<usize> = places.collect();
            let tokens: Vec<_> = places.iter().map(|&at| batch.tokens[at]).collect();
            let positions: Vec<u32> = places.iter().map(|&at| batch.positions[at]).collect();
            assert!(positions.iter().copied().eq(0..tokens.len() as u32));
            seen.push(tokens);
        }
    }
    assert_eq!(targets as u64, examples.answer_tokens());
    let all: BTreeSet<_> = (0..examples.len()).map(|at| examples.get(at).tokens.to_vec()).collect();
    assert_eq!((seen.len(), seen.into_iter().collect::<BTreeSet<_>>()), (200, all));
    assert!(wasted * 20 < examples.tokens() as usize, "{wasted} places are empty");
    // The place in the data is enough to go on.
    let position = rows.position();
    let mut again = Rows::endless(Arc::clone(&examples), 128, 2, 7).unwrap();
    again.seek(&position).unwrap();
    let mut other = Batch::default();
    rows.next_batch(&mut batch);
    again.next_batch(&mut other);
    assert_eq!(batch, other);
    let foreign = Rows::endless(examples, 128, 2, 8).unwrap().seek(&position);
    assert!(matches!(foreign, Err(crate::TrainError::ForeignPosition { .. })));
}

#[test]
fn the_same_words_are_on_one_side() {
    let (tokenizer, template) = (tokenizer(), ChatTemplate::lucid().unwrap());
    let writer = Writer::new(&tokenizer, &template);
    let mut gatherer = Gatherer::new(&writer, 128, 0.3);
    for at in 0..300 {
        let value = json!({"prompt": format!("q{}", at % 100), "completion": "a"});
        gatherer.take("file", Line { number: at, found: from(&value) });
    }
    let Gathered { training, held_out, .. } = gatherer.finish();
    let set = |examples: &Examples| -> BTreeSet<Vec<u32>> {
        (0..examples.len()).map(|at| examples.get(at).tokens.to_vec()).collect()
    };
    let (training, held_out) = (set(&training), set(&held_out));
    assert!(training.is_disjoint(&held_out));
    assert!((15..45).contains(&held_out.len()), "{}", held_out.len());
}

/// Templates in other manners than Lucid's, in its control tokens.
fn template(source: &str) -> ChatTemplate {
    ChatTemplate::bind(source, &tokenizer()).unwrap()
}

const EACH: &str = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}";

#[test]
fn what_a_template_writes_after_an_answer_is_not_learned() {
    let tokenizer = tokenizer();
    let asks = "{% if add_generation_prompt %}<|assistant|>{% endif %}";
    let talk = json!({"messages": [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "one"},
        {"role": "user", "content": "b"}, {"role": "assistant", "content": "two"}]});
    let plain =
        gathered(&tokenizer, &template(&format!("{EACH}{asks}")), std::slice::from_ref(&talk), 99);
    assert_eq!(learned(&tokenizer, &plain.training), ["one<|end|>two<|end|>"]);
    // An end of the whole conversation is no part of an answer.
    let closed = format!("{EACH}{{% if not add_generation_prompt %}}<|bos|>{{% endif %}}{asks}");
    let found = gathered(&tokenizer, &template(&closed), &[talk], 99);
    assert_eq!(learned(&tokenizer, &found.training), ["one<|end|>two<|end|>"]);
}

#[test]
fn a_template_that_leaves_something_out_is_refused() {
    let tokenizer = tokenizer();
    let refused = |source: &str, value: Value| {
        let found = gathered(&tokenizer, &template(source), &[value], 200);
        assert!(found.training.is_empty());
        let (refusal, _) = found.tally.refused.into_iter().next().unwrap();
        refusal.to_string()
    };
    let calls = json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant",
        "content": "x", "tool_calls": [{"function": {"name": "sum", "arguments": {}}}]}]});
    assert!(refused(EACH, calls).contains("does not write calls"));
    // The system's words move to the last message: where the answer begins nobody can tell.
    let moves = "{% for m in messages %}{% if m.role == 'user' %}<|user|>{% if loop.last %}\
                 {{ messages[0].content }} {% endif %}{{ m.content }}<|end|>{% elif m.role == \
                 'assistant' %}{{ m.content }}<|end|>{% endif %}{% endfor %}";
    let system = json!({"messages": [{"role": "system", "content": "s"},
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]});
    assert!(refused(moves, system).contains("otherwise once the answer is there"));
    let nothing = "{% for m in messages %}<|{{ m.role }}|><|end|>{% endfor %}";
    let talk = json!({"prompt": "a", "completion": "b"});
    assert!(refused(nothing, talk).contains("nothing of an answer"));
}

#[test]
fn answers_that_are_not_to_be_learned_are_refused_by_name() {
    let value = json!({"messages": [{"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "weight": 0}]});
    assert_eq!(from(&value).map(|_| ()), Err(Refusal::Weight));
}

#[test]
fn of_few_one_is_held_out_with_all_its_copies() {
    let (tokenizer, template) = (tokenizer(), ChatTemplate::lucid().unwrap());
    let writer = Writer::new(&tokenizer, &template);
    let mut gatherer = Gatherer::new(&writer, 128, 1e-9);
    for at in 0..6 {
        let value = json!({"prompt": format!("q{}", at % 3), "completion": "a"});
        gatherer.take("file", Line { number: at, found: from(&value) });
    }
    let Gathered { training, held_out, .. } = gatherer.finish();
    assert_eq!((training.len(), held_out.len()), (4, 2));
    assert_eq!(held_out.get(0), held_out.get(1));
}

fn compared(value: &Value) -> Result<(Comparison, usize), Refusal> {
    compared::comparison(value)
}

fn said(conversation: &Conversation) -> Vec<(&str, &str)> {
    conversation
        .messages
        .iter()
        .map(|it| (it.role.as_str(), it.content.as_deref().unwrap_or_default()))
        .collect()
}

#[test]
fn every_shape_is_the_same_comparison() {
    let turn = |role: &str, text: &str| json!({"role": role, "content": text});
    let part = |role: &str, text: &str| {
        let content = json!([{"type": "text", "value": text}]);
        json!({"role": role, "content": content, "loss_weight": 1.0})
    };
    for value in [
        json!({"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}),
        json!({"instruction": "Hi", "input": "", "chosen": "Hello!", "rejected": "What?",
            "output": "Hello!"}),
        json!({"prompt": [turn("user", "Hi")], "chosen": [turn("assistant", "Hello!")],
            "rejected": [turn("assistant", "What?")]}),
        json!({"chosen": [turn("user", "Hi"), turn("assistant", "Hello!")],
            "rejected": [turn("user", "Hi"), turn("assistant", "What?")]}),
        json!({"prompt": "Hi", "chosen": [turn("user", "Hi"), turn("assistant", "Hello!")],
            "rejected": [turn("user", "Hi"), turn("assistant", "What?")]}),
        json!({"chosen_messages": [part("user", "Hi"), part("assistant", "Hello!")],
            "rejected_messages": [part("user", "Hi"), part("assistant", "What?")]}),
        json!({"conversations": [{"from": "human", "value": "Hi"}],
            "chosen": {"from": "gpt", "value": "Hello!"},
            "rejected": {"from": "gpt", "value": "What?"}}),
        json!({"messages": [turn("user", "Hi")], "chosen": turn("assistant", "Hello!"),
            "rejected": turn("assistant", "What?")}),
        json!({"prompt": "Hi", "messages": [turn("user", "Hi"), turn("assistant", "Hello!")],
            "chosen": [turn("human", "Hi"), turn("gpt", "Hello!")],
            "rejected": [turn("user", "Hi"), turn("assistant", "What?")]}),
        json!({"chosen": "\n\nHuman: Hi\n\nAssistant: Hello!",
            "rejected": "\n\nHuman: Hi\n\nAssistant: What?"}),
    ] {
        let (Comparison { conversation, verdict }, trimmed) = compared(&value).unwrap();
        assert_eq!(said(&conversation), [("user", "Hi"), ("assistant", "Hello!")], "{value}");
        let Verdict::Over(other) = verdict else { panic!("{value}") };
        assert_eq!(said(&other), [("user", "Hi"), ("assistant", "What?")], "{value}");
        assert_eq!(trimmed, 0);
    }
    for (key, label, expected) in [("label", true, Verdict::Good), ("kto_tag", false, Verdict::Bad)]
    {
        let value = json!({"prompt": "Hi", "completion": "Hello!", key: label});
        assert_eq!(compared(&value).unwrap().0.verdict, expected);
    }
}

#[test]
fn what_is_no_comparison_is_refused_by_its_reason() {
    for (value, expected) in [
        (json!([1]), Refusal::NoObject),
        (json!({"prompt": "Hi", "chosen": "Hello!"}), Refusal::NoComparison),
        (json!({"prompt": "Hi", "completion": "Hello!", "label": "yes"}), Refusal::NoComparison),
        (json!({"prompt": "Hi", "chosen": "a", "rejected": "a"}), Refusal::SameAnswer),
        (
            json!({"chosen": "\n\nHuman: a\n\nAssistant: c",
                "rejected": "\n\nHuman: b\n\nAssistant: d"}),
            Refusal::OtherQuestion,
        ),
        (
            json!({"prompt": "Hi", "chosen": "", "rejected": "a"}),
            Refusal::Empty { role: "assistant".to_owned() },
        ),
        (json!({"prompt": "Hi", "chosen": 3, "rejected": "a"}), {
            Refusal::Text { role: "assistant".to_owned() }
        }),
    ] {
        assert_eq!(compared(&value).unwrap_err(), expected, "{value}");
    }
}

#[test]
fn compared_answers_stand_in_a_row_together() {
    let tokenizer = tokenizer();
    let template = ChatTemplate::bind(LUCID_TEMPLATE, &tokenizer).unwrap();
    let writer = Writer::new(&tokenizer, &template);
    let pairs = |judged| {
        let mut gatherer = Gatherer::new(&writer, 64, 0.3);
        for number in 0..40 {
            let value = json!({"prompt": format!("word {number}"),
                "chosen": format!("yes {number}"),
                "rejected": format!("no, {number}")});
            let line = Line { number, found: compared(&value) };
            gatherer.take_comparison("file", line, judged);
        }
        gatherer.finish()
    };
    let of = |examples: &Examples, at: usize| {
        let Example { tokens, learned } = examples.get(at);
        let begin = learned.iter().position(|&it| it).unwrap();
        assert!(learned[begin..].iter().all(|&it| it));
        let text = |part: &[u32]| {
            String::from_utf8(tokenizer.decode(part, ShowSpecial::No)).unwrap().trim().to_owned()
        };
        (text(&tokens[..begin]), text(&tokens[begin..]))
    };
    let Gathered { training, held_out, .. } = pairs(Judged::InPairs);
    assert_eq!(training.units() + held_out.units(), 40);
    assert!(held_out.units() > 3);
    for unit in 0..training.units() {
        assert_eq!(training.kind(unit), Kind::Pair);
        let (good, bad) = (of(&training, 2 * unit), of(&training, 2 * unit + 1));
        assert!(good.0 == bad.0 && good.1.starts_with("yes") && bad.1.starts_with("no"));
    }
    let mut rows = Rows::endless(Arc::new(training.clone()), 128, 2, 7).unwrap();
    let mut batch = Batch::default();
    let mut seen = BTreeSet::new();
    while seen.len() < training.units() {
        assert!(rows.next_batch(&mut batch));
        assert_eq!(batch.sequence_count as usize, 2 * batch.units.len());
        for (number, &unit) in batch.units.iter().enumerate() {
            seen.insert(unit);
            for place in 0..2 {
                let own = 2 * number + place;
                let tokens: Vec<u32> = (0..batch.tokens.len())
                    .filter(|&at| batch.sequences[at] as usize == own)
                    .map(|at| batch.tokens[at])
                    .collect();
                assert_eq!(tokens, training.get(2 * unit as usize + place).tokens);
            }
        }
    }
    let Gathered { training, .. } = pairs(Judged::Alone);
    for unit in 0..training.units() {
        let expected = if unit % 2 == 0 { Kind::Good } else { Kind::Bad };
        assert_eq!(training.kind(unit), expected);
        let (own, other) = (of(&training, 2 * unit), of(&training, 2 * unit + 1));
        assert_eq!(own.0, other.0, "the same question");
        let number = |text: &str| text.split(' ').next_back().unwrap().to_owned();
        assert_eq!(number(&own.0.replace("<|assistant|>", "")), number(&own.1), "{own:?}");
        assert_ne!(number(&own.1), number(&other.1), "{other:?}");
    }
}
