//! More than 200 schemas: what is accepted is kept to, and what is refused is refused by name.

use std::time::Instant;

use jsonschema::Validator;
use lucid_provider::OutputFormat;
use lucid_provider::grammar::Grammars;
use serde_json::Value;

use super::answer::{Ended, Model, constraint};
use super::vocabularies;

const FILES: &[(&str, &str)] = &[
    ("types", include_str!("schemas/types.json")),
    ("numbers", include_str!("schemas/numbers.json")),
    ("strings", include_str!("schemas/strings.json")),
    ("formats", include_str!("schemas/formats.json")),
    ("arrays", include_str!("schemas/arrays.json")),
    ("objects", include_str!("schemas/objects.json")),
    ("combined", include_str!("schemas/combined.json")),
    ("references", include_str!("schemas/references.json")),
    ("enums", include_str!("schemas/enums.json")),
    ("unicode", include_str!("schemas/unicode.json")),
    ("nested", include_str!("schemas/nested.json")),
    ("real", include_str!("schemas/real.json")),
];

const REFUSED: &str = include_str!("schemas/refused.json");

/// Tokens of an answer at most.
const TOKENS_MAX: usize = 500;

/// A schema with its name.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) schema: Value,
}

/// The schemas that are kept to.
pub(crate) fn accepted() -> Vec<Case> {
    let mut cases = Vec::new();
    for (file, text) in FILES {
        let list: Vec<Value> = serde_json::from_str(text).unwrap();
        cases.extend(list.into_iter().map(|mut case| Case {
            name: format!("{file}: {}", case["name"].as_str().unwrap()),
            schema: case["schema"].take(),
        }));
    }
    cases
}

/// A judge who knows nothing of grammars.
pub(crate) fn judge(schema: &Value) -> Validator {
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .should_validate_formats(true)
        .build(&modern(schema))
        .unwrap()
}

/// The schema in the words of 2020-12: older words for lists and bounds are taken, too.
fn modern(schema: &Value) -> Value {
    let Value::Object(members) = schema else { return schema.clone() };
    let mut members = members.clone();
    if members.get("items").is_some_and(Value::is_array) {
        let first = members.remove("items").unwrap();
        members.insert("prefixItems".to_owned(), first);
        if let Some(rest) = members.remove("additionalItems") {
            members.insert("items".to_owned(), rest);
        }
    }
    if members.get("exclusiveMinimum") == Some(&Value::Bool(true)) {
        let bound = members.remove("minimum").unwrap();
        members.insert("exclusiveMinimum".to_owned(), bound);
    }
    Value::Object(members)
}

/// Answers of one vocabulary to some schemas: how many there were, and how many were whole.
fn check(
    tokenizer: &std::sync::Arc<lucid_tokenizer::Tokenizer>,
    cases: &[Case],
    seeds: u64,
) -> (usize, usize) {
    let began = Instant::now();
    let grammars = Grammars::new(tokenizer).unwrap();
    println!("{} tokens ready in {} ms", tokenizer.len(), began.elapsed().as_millis());
    let model = Model::new(tokenizer);
    let (mut all, mut whole) = (0, 0);
    let mut wrong = Vec::new();
    for Case { name, schema } in cases {
        let judge = judge(schema);
        let format = OutputFormat::JsonSchema(schema.clone());
        for seed in 0..seeds {
            let mut constraint = match constraint(&grammars, &format) {
                Ok(constraint) => constraint,
                Err(error) => {
                    wrong.push(format!("{name}: {error}"));
                    break;
                }
            };
            all += 1;
            let answer = match model.answer(&mut *constraint, seed, TOKENS_MAX) {
                Ok(answer) => answer,
                Err(error) => {
                    wrong.push(format!("{name}: {error}"));
                    continue;
                }
            };
            if answer.ended == Ended::Length {
                println!(
                    "{name} did not end: {}",
                    &answer.text.chars().take(60).collect::<String>()
                );
                continue;
            }
            whole += 1;
            match serde_json::from_str::<Value>(&answer.text) {
                Ok(value) => {
                    if let Err(error) = judge.validate(&value) {
                        wrong.push(format!("{name}: {} is not valid: {error}", answer.text));
                    }
                }
                Err(error) => wrong.push(format!("{name}: {:?} is no JSON: {error}", answer.text)),
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    (all, whole)
}

#[test]
fn every_answer_of_a_random_model_is_valid() {
    let cases = accepted();
    let refused: Vec<Value> = serde_json::from_str(REFUSED).unwrap();
    assert!(cases.len() >= 200, "{}", cases.len());
    assert!(refused.len() * 10 < cases.len() + refused.len());
    let (all, whole) = check(&vocabularies::bytes(), &cases, 3);
    println!("{} schemas, {all} answers, {whole} judged", cases.len());
    assert!(whole * 100 >= all * 95, "{whole} of {all} were judged");
}

#[test]
fn answers_in_real_vocabularies_are_valid() {
    for (name, tokenizer) in vocabularies::real() {
        let every = if tokenizer.len() > 100_000 { 23 } else { 9 };
        let cases: Vec<Case> = accepted().into_iter().step_by(every).collect();
        let (all, whole) = check(&tokenizer, &cases, 1);
        println!("{name}: {} schemas, {all} answers, {whole} judged", cases.len());
        assert!(whole * 100 >= all * 80, "{name}: {whole} of {all} were judged");
    }
}

#[test]
fn what_cannot_be_kept_to_is_refused_by_name() {
    let grammars = Grammars::new(&vocabularies::bytes()).unwrap();
    let refused: Vec<Value> = serde_json::from_str(REFUSED).unwrap();
    for case in &refused {
        let format = OutputFormat::JsonSchema(case["schema"].clone());
        let error = match constraint(&grammars, &format) {
            Ok(_) => panic!("{} was taken", case["name"]),
            Err(error) => error.to_string(),
        };
        let keyword = format!("`{}` at #", case["keyword"].as_str().unwrap());
        assert!(error.contains(&keyword), "{}: {error}", case["name"]);
    }
}
