//! Formats made to take too long or too much: each is refused, or its answer ends in an error.

use std::time::{Duration, Instant};

use lucid_provider::OutputFormat;
use lucid_provider::grammar::Grammars;
use serde_json::{Value, json};

use super::answer::{Model, constraint};
use super::vocabularies;

/// However slow the machine is, nothing may take this long.
const TIME_MAX: Duration = Duration::from_secs(20);

fn doubling(rules: usize) -> String {
    let rule = |index| format!("r{index} ::= r{0} r{0}\n", index + 1);
    let rules: String = (0..rules).map(rule).collect();
    format!("root ::= r0\n{rules}r{} ::= \"a\"\n", rules.lines().count())
}

fn doubling_in_lark(rules: usize) -> String {
    let rule = |index| format!("A{index}: A{0} A{0}\n", index + 1);
    let text: Vec<String> = (0..rules).map(rule).collect();
    format!("start: A0\n{}A{rules}: \"a\"\n", text.concat())
}

fn bombs() -> Vec<(&'static str, OutputFormat)> {
    let deep = (0..200)
        .fold(json!({"type": "integer"}), |schema, _| json!({"type": "array", "items": schema}));
    let wide: serde_json::Map<String, Value> =
        (0..8000).map(|index| (format!("p{index}"), json!({"type": "integer"}))).collect();
    let chain: serde_json::Map<String, Value> = (0..2500)
        .map(|index| (format!("d{index}"), json!({"$ref": format!("#/$defs/d{}", index + 1)})))
        .collect();
    let product = json!({"allOf": vec![json!({"anyOf": (0..40).map(|index| {
        json!({"type": "object", "properties": {format!("k{index}"): {"type": "integer"}}})
    }).collect::<Vec<_>>()}); 12]});
    let tree: serde_json::Map<String, Value> = (0..8)
        .map(|index| {
            let next = json!({"$ref": format!("#/$defs/d{}", index + 1)});
            (format!("d{index}"), json!({"allOf": vec![next; 30]}))
        })
        .chain([("d8".to_owned(), json!({"type": "string"}))])
        .collect();
    let names: Vec<Value> = (0..15_000).map(|index| json!({"const": index})).collect();
    let constants = |from: usize| json!({"enum": (from..from + 30_000).collect::<Vec<_>>()});
    let anchored = json!({
        "anyOf": vec![json!({"$ref": "#a"}); 15_000],
        "x-many": vec![json!([]); 60_000],
        "$defs": {"a": {"$anchor": "a", "type": "null"}},
    });
    let pattern =
        |pattern: &str| OutputFormat::JsonSchema(json!({"type": "string", "pattern": pattern}));
    vec![
        ("nested schemas", OutputFormat::JsonSchema(deep)),
        ("many members", OutputFormat::JsonSchema(json!({"type": "object", "properties": wide}))),
        (
            "a chain of references",
            OutputFormat::JsonSchema(json!({"$ref": "#/$defs/d0", "$defs": chain})),
        ),
        ("a product of unions", OutputFormat::JsonSchema(product)),
        (
            "a tree of references to tell apart",
            OutputFormat::JsonSchema(
                json!({"oneOf": [{"$ref": "#/$defs/d0"}, {"type": "string"}], "$defs": tree}),
            ),
        ),
        ("many constants to tell apart", OutputFormat::JsonSchema(json!({"oneOf": names}))),
        (
            "long lists to tell apart",
            OutputFormat::JsonSchema(json!({"oneOf": [constants(0), constants(30_000)]})),
        ),
        ("many references to an anchor", OutputFormat::JsonSchema(anchored)),
        ("repeated repetitions", pattern("^(((a{1,99}){1,99}){1,99}){1,99}$")),
        ("a pattern that counts", pattern("^(.*a.{300}){3}$")),
        (
            "many items",
            OutputFormat::JsonSchema(
                json!({"type": "array", "minItems": 100_000, "items": {"type": "integer"}}),
            ),
        ),
        ("a long regular expression", OutputFormat::Regex("(a|b)*c".repeat(60_000))),
        ("nested brackets", OutputFormat::Regex("(".repeat(100_000))),
        ("nested brackets in Lark", OutputFormat::Lark(format!("start: {}", "(".repeat(100_000)))),
        ("an endless text", OutputFormat::Lark("start: \"".to_owned() + &"a".repeat(600_000))),
        ("doubling rules", OutputFormat::Gbnf(doubling(60))),
        ("doubling rules of Lark", OutputFormat::Lark(doubling_in_lark(60))),
        ("nested groups of GBNF", OutputFormat::Gbnf(format!("root ::= {}", "(".repeat(100_000)))),
        (
            "repetitions of repetitions",
            OutputFormat::Gbnf(format!("root ::= \"a\"{}", "*".repeat(100_000))),
        ),
        ("an ambiguous grammar", OutputFormat::Lark("start: s\ns: s s | \"a\" |\n".to_owned())),
        ("many choices", OutputFormat::Choice((0..40_000).map(|i| format!("{i:010}")).collect())),
    ]
}

#[test]
fn bombs_do_not_go_off() {
    let tokenizer = vocabularies::bytes();
    let grammars = Grammars::new(&tokenizer).unwrap();
    let model = Model::new(&tokenizer);
    for (name, format) in bombs() {
        let began = Instant::now();
        let outcome = match constraint(&grammars, &format) {
            Err(error) => error.to_string(),
            Ok(mut constraint) => match model.answer(&mut *constraint, 1, 50) {
                Err(error) => error.to_string(),
                Ok(answer) => format!("answered {:?}", answer.ended),
            },
        };
        assert!(outcome.len() < 4000, "{name}: the error quotes the bomb");
        let outcome: String = outcome.chars().take(90).collect();
        println!("{name}: {} ms: {outcome}", began.elapsed().as_millis());
        assert!(began.elapsed() < TIME_MAX, "{name}");
    }
    // The engine goes on.
    let format = OutputFormat::Choice(vec!["fine".to_owned()]);
    let mut constraint = constraint(&grammars, &format).unwrap();
    assert_eq!(model.answer(&mut *constraint, 1, 50).unwrap().text, "fine");
}
