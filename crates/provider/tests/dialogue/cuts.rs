//! However an answer is cut into parts, what is heard is the same.

use lucid_provider::dialogue::{Begins, Format};

use super::{Heard, hear, tools};

/// A call that is heard.
fn call(name: &str, json: &str) -> (String, String) {
    (name.to_owned(), json.to_owned())
}

fn heard(text: &str, reasoning: &str, calls: Vec<(String, String)>) -> Heard {
    Heard { text: text.to_owned(), reasoning: reasoning.to_owned(), calls }
}

/// All of them.
fn answers() -> Vec<(&'static str, &'static str, Heard)> {
    [json_answers(), other_answers()].concat()
}

/// Answers with the sources of their templates, and what they consist of.
fn json_answers() -> Vec<(&'static str, &'static str, Heard)> {
    vec![
        (
            "<think></think><tool_call>",
            "<think>\nwhy <b>not</b>?\n</think>\n\nSo: 1 < 2\n<tool_call>\n{\"name\": \
             \"get_weather\", \"arguments\": {\"city\": \"Ås </tool_call>\"}}\n</tool_call>\n\
             <tool_call>{\"arguments\": {}, \"name\": \"stop\"}</tool_call>",
            heard(
                "So: 1 < 2",
                "why <b>not</b>?",
                vec![call("get_weather", "{\"city\": \"Ås </tool_call>\"}"), call("stop", "{}")],
            ),
        ),
        (
            "<tool_call>",
            "a <tool_call> is {\"name\": 3} <tool_ca<tool_call>{\"name\": \"stop\"}</tool_call> b ",
            heard("a <tool_call> is {\"name\": 3} <tool_cab ", "", vec![call("stop", "{}")]),
        ),
        (
            "[TOOL_CALLS]",
            "[TOOL_CALLS] [{\"name\": \"stop\", \"arguments\": {\"a\": [1]}, \"id\": \"x\"}, \
             {\"name\": \"stop\", \"arguments\": \"{\\\"b\\\": 2}\"}]",
            heard("", "", vec![call("stop", "{\"a\": [1]}"), call("stop", "{\"b\": 2}")]),
        ),
        (
            "[TOOL_CALLS][ARGS]",
            "Hm.[TOOL_CALLS]stop[ARGS]{\"a\": 1}[TOOL_CALLS]stop[CALL_ID]123[ARGS]{}",
            heard("Hm.", "", vec![call("stop", "{\"a\": 1}"), call("stop", "{}")]),
        ),
        (
            "ipython \"name\" \"parameters\"",
            "{\"name\": \"stop\", \"parameters\": {\"a\": null}}",
            heard("", "", vec![call("stop", "{\"a\": null}")]),
        ),
        (
            "ipython \"name\" \"parameters\"",
            "{\"name\": \"Ada\", \"parameters\": 3}",
            heard("{\"name\": \"Ada\", \"parameters\": 3}", "", Vec::new()),
        ),
    ]
}

/// The same for the other syntaxes.
fn other_answers() -> Vec<(&'static str, &'static str, Heard)> {
    vec![
        (
            "<|channel|>analysis to=functions.",
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary \
             to=functions.stop <|constrain|>json<|message|>{\"a\": 1}<|call|>",
            heard("", "hm", vec![call("stop", "{\"a\": 1}")]),
        ),
        (
            "<|channel|>analysis to=functions.",
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant\
             <|channel|>final<|message|>Yes.",
            heard("Yes.", "hm", Vec::new()),
        ),
        (
            "<tool_call><function=<parameter=",
            "<tool_call>\n<function=get_weather>\n<parameter=city>\n 5 \n</parameter>\n\
             <parameter=days>\n5\n</parameter>\n</function>\n</tool_call>",
            heard("", "", vec![call("get_weather", "{\"city\":\" 5 \",\"days\":5}")]),
        ),
        (
            "<arg_key><arg_value>",
            "<tool_call>stop</tool_call>",
            heard("", "", vec![call("stop", "{}")]),
        ),
        (
            "<|tool_call_start|>",
            "<|tool_call_start|>[stop(), get_weather(city='a\\'b', units=[\"m\", None], days=-2)]\
             <|tool_call_end|>ok",
            heard(
                "ok",
                "",
                vec![
                    call("stop", "{}"),
                    call("get_weather", "{\"city\":\"a'b\",\"units\":[\"m\",null],\"days\":-2}"),
                ],
            ),
        ),
        (
            "<|call|><|result|><|think|>",
            "<|think|>x<|/think|>y<|call|>stop {\"a\": \"<|end|>\"}<|end|>",
            heard("y", "x", vec![call("stop", "{\"a\": \"<|end|>\"}")]),
        ),
        (
            ">>>all",
            "all\nHello >>> you>>>stop\n{\"a\": 1}",
            heard("Hello >>> you", "", vec![call("stop", "{\"a\": 1}")]),
        ),
        ("plain", "<think> <tool_call> ", heard("<think> <tool_call> ", "", Vec::new())),
    ]
}

/// A generator of numbers, for cuts.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % bound
    }
}

#[test]
fn answers_are_heard() {
    for (source, answer, expected) in answers() {
        let format = Format::of_template(source);
        let heard = hear(format.reader(Begins::Outside, &tools()), [answer]);
        assert_eq!(heard, expected, "{source}");
    }
}

#[test]
fn cuts_do_not_matter() {
    for (source, answer, expected) in answers() {
        let format = Format::of_template(source);
        for (cut, _) in answer.char_indices() {
            let (head, tail) = answer.split_at(cut);
            let heard = hear(format.reader(Begins::Outside, &tools()), [head, tail]);
            assert_eq!(heard, expected, "{source} cut at {cut}");
        }
        let single: Vec<String> = answer.chars().map(String::from).collect();
        let parts = single.iter().map(String::as_str);
        assert_eq!(hear(format.reader(Begins::Outside, &tools()), parts), expected, "{source}");
        let mut random = Random(7);
        for _ in 0..20 {
            let mut parts = Vec::new();
            let mut rest = answer;
            while !rest.is_empty() {
                let mut cut = (1 + random.below(9)).min(rest.len());
                while !rest.is_char_boundary(cut) {
                    cut += 1;
                }
                let (part, after) = rest.split_at(cut);
                parts.push(part);
                rest = after;
            }
            let heard = hear(format.reader(Begins::Outside, &tools()), parts);
            assert_eq!(heard, expected, "{source}");
        }
    }
}

#[test]
fn an_answer_that_was_cut_short_keeps_what_it_had() {
    let check = |source: &str, answer: &str, text: &str, calls: &[(&str, &str)]| {
        let format = Format::of_template(source);
        let heard = hear(format.reader(Begins::Outside, &tools()), [answer]);
        let calls: Vec<_> =
            calls.iter().map(|(name, json)| ((*name).to_owned(), (*json).to_owned())).collect();
        assert_eq!((heard.text.as_str(), heard.calls), (text, calls), "{answer}");
    };
    let hermes = "<tool_call>";
    check(hermes, "a <tool_c", "a <tool_c", &[]);
    check(hermes, "<tool_call>{\"name\": \"st", "<tool_call>{\"name\": \"st", &[]);
    check(hermes, "<tool_call>{\"name\": \"stop\", \"arguments\": {\"a", "", &[("stop", "{\"a")]);
    check(hermes, "<tool_call>{\"name\": \"stop\", \"arguments\": {}}", "", &[("stop", "{}")]);
    check(hermes, "<tool_call>{\"name\": \"stop\", \"arguments\": {}}</to", "", &[("stop", "{}")]);
    check(hermes, "<tool_call>{}</tool_call>", "<tool_call>{}</tool_call>", &[]);
    check("<arg_key><arg_value>", "<tool_call>stop", "", &[("stop", "{}")]);
    check(
        "<arg_key><arg_value>",
        "<tool_call>no such thing</tool_call>",
        "<tool_call>no such thing</tool_call>",
        &[],
    );
}

#[test]
fn reasoning_that_the_prompt_opened() {
    let format = Format::of_template("<think></think><tool_call>");
    let check = |answer: &str, text: &str, reasoning: &str| {
        let heard = hear(format.reader(Begins::InReasoning, &tools()), [answer]);
        assert_eq!((heard.text.as_str(), heard.reasoning.as_str()), (text, reasoning), "{answer}");
    };
    check("hm\n</think>\n\nFour.", "Four.", "hm");
    check("<think>hm</think>Four.", "Four.", "hm");
    check("hm, </think>a </think> b", "a </think> b", "hm,");
    check("cut short", "", "cut short");
    check("<tool_call>{}</think>", "", "<tool_call>{}");
}
