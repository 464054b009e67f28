//! `lucid run` with formats, stop texts, guesses and what is kept on disk.

use crate::support::Home;
use crate::tiny::Tiny;

fn home() -> Home {
    let home = Home::new();
    home.write("tiny.gguf", &Tiny::new().bytes());
    home
}

/// The text of an answer.
fn text(home: &Home, flags: &[&str]) -> String {
    let args = [&["run", "tiny.gguf", "x", "--temp", "0", "--json"], flags].concat();
    home.json(&args)["text"].as_str().unwrap().to_owned()
}

#[test]
fn answers_keep_to_formats() {
    let home = home();
    let digits = text(&home, &["--regex", "[0-9]{4}"]);
    assert!(digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit()), "{digits}");
    let schema = r#"{"type": "object", "properties": {"n": {"enum": ["a", "b"]}},
        "required": ["n"], "additionalProperties": false}"#;
    home.write("schema.json", schema.as_bytes());
    for given in [schema, "schema.json"] {
        let answer = text(&home, &["--json-schema", given]);
        let value: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert!(value["n"] == "a" || value["n"] == "b", "{answer}");
    }
    home.write("g.gbnf", b"root ::= \"yes\" | \"no\"");
    home.write("g.lark", b"start: \"yes\" | \"no\"");
    for file in ["g.gbnf", "g.lark"] {
        let answer = text(&home, &["--grammar", file]);
        assert!(answer == "yes" || answer == "no", "{file}: {answer}");
    }
    home.fails(&["run", "tiny.gguf", "x", "--regex", "("], &["output format cannot be used"]);
    home.fails(&["run", "tiny.gguf", "x", "--json-schema", "{"], &["--json-schema", "no JSON"]);
    home.fails(&["run", "tiny.gguf", "x", "--grammar", "nowhere"], &["nowhere"]);
}

#[test]
fn stop_texts_and_guesses() {
    let home = home();
    assert_eq!(text(&home, &[]), "Hi!");
    assert_eq!(text(&home, &["--stop", "!", "--stop", "zz"]), "Hi");
    assert_eq!(text(&home, &["--no-speculation"]), "Hi!");
    assert_eq!(text(&home, &["--draft", "tiny.gguf"]), "Hi!");
    home.fails(&["run", "tiny.gguf", "x", "--lora", "nowhere.gguf"], &["adapter", "nowhere.gguf"]);
}

/// The second program finds what the first one computed.
#[test]
fn prompts_are_kept() {
    let home = home();
    let prompt = "word ".repeat(30);
    let computed = |flags: &[&str]| {
        let args = [&["run", "tiny.gguf", &prompt, "--temp", "0", "--json"], flags].concat();
        home.json(&args)["prompt_tokens"].as_u64().unwrap()
    };
    let all = computed(&["--keep"]);
    assert!(all > 128, "{all}");
    assert!(computed(&["--keep"]) < 64 + 1);
    assert_eq!(computed(&[]), all);
}
