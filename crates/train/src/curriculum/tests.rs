//! What the curriculum promises of itself.

use std::collections::BTreeSet;

use super::*;

/// The words of a template; a gap is a word like any other.
fn words(template: &str) -> Vec<String> {
    let plain = |c: char| !(c.is_alphanumeric() || matches!(c, '{' | '}'));
    let words = template.split(plain).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

fn five_grams(side: Side) -> BTreeSet<Vec<String>> {
    let all = templates(side);
    all.iter()
        .flat_map(|one| words(one).windows(5).map(<[_]>::to_vec).collect::<Vec<_>>())
        .collect()
}

#[test]
fn there_are_many_templates_and_none_is_on_both_sides() {
    let [training, held_out] = [Side::Training, Side::HeldOut].map(templates);
    let set: BTreeSet<_> = training.iter().collect();
    assert!(set.len() >= 200, "{} templates", set.len());
    assert!(held_out.len() >= 60, "{} templates are held out", held_out.len());
    assert!(held_out.iter().all(|one| !set.contains(one)));
    let shared: Vec<_> =
        five_grams(Side::Training).intersection(&five_grams(Side::HeldOut)).cloned().collect();
    assert!(shared.is_empty(), "{shared:?}");
}

#[test]
fn every_item_is_a_whole_conversation_and_its_own_answer_is_right() {
    for skill in Skill::ALL {
        for side in [Side::Training, Side::HeldOut] {
            let mut seen = BTreeSet::new();
            for number in 0..400 {
                let item = item(skill, side, 7, number);
                let Item { conversation, check, .. } = &item;
                let text = item.to_json().to_string();
                for message in &conversation.messages {
                    let content = message.content.as_deref().unwrap_or_default();
                    assert!(!content.contains('{') && !content.contains("  "), "{text}");
                }
                // It is judged by the call, or by what is said at the end.
                let answers = conversation.messages.iter().filter(|it| it.role == "assistant");
                let judged = |it: &Message| {
                    check.judge(it.content.as_deref().unwrap_or_default(), &it.tool_calls)
                };
                assert!(answers.clone().any(judged), "{text}");
                assert!(!check.judge("no idea", &[]), "{text}");
                seen.insert(text);
            }
            assert!(seen.len() > 60, "{}: {} different ones", skill.name(), seen.len());
        }
    }
}

#[test]
fn an_item_is_the_same_for_the_same_seed_and_number() {
    let of = |seed, number| item(Skill::Passage, Side::Training, seed, number);
    assert_eq!(of(1, 2), of(1, 2));
    assert_ne!(of(1, 2), of(1, 3));
    assert_ne!(of(1, 2), of(2, 2));
}

#[test]
fn half_of_all_passages_answer_and_operands_have_up_to_six_digits() {
    let declined = (0..1000)
        .filter(|&number| item(Skill::Passage, Side::HeldOut, 1, number).check == Check::Declines)
        .count();
    assert!((430..570).contains(&declined), "{declined} of 1000 are declined");
    let longest = (0..1000).map(|number| {
        let item = item(Skill::Calculator, Side::HeldOut, 1, number);
        let call = &item.conversation.messages[1].tool_calls[0];
        let expression = call.arguments["expression"].as_str().unwrap().to_owned();
        let operands = expression.split(' ').filter(|part| part.parse::<u64>().is_ok());
        operands.map(str::len).max().unwrap()
    });
    assert_eq!(longest.max(), Some(6));
}

#[test]
fn numbers_are_judged_as_numbers() {
    let check = Check::Number("1234".to_owned());
    assert!(check.judge("It is 1,234.", &[]) && check.judge("1234", &[]));
    for wrong in ["12345", "It is 123 4", "-1234", "1234/2", "", "1234 or 7"] {
        assert!(!check.judge(wrong, &[]), "{wrong}");
    }
    let says = Check::Says(vec!["red".to_owned()]);
    assert!(says.judge("It is red.", &[]) && !says.judge("It is not answered.", &[]));
    let called = Check::Calls { name: "f".to_owned(), arguments: json!({"a": 1}) };
    let call = |arguments| ToolCall { id: String::new(), name: "f".to_owned(), arguments };
    assert!(called.judge("", &[call(json!({"a": 1}))]));
    assert!(!called.judge("", &[call(json!({"a": "1"}))]));
    assert!(!called.judge("", &[call(json!({"a": 1})), call(json!({"a": 1}))]));
}

#[test]
fn what_is_held_out_asks_in_words_that_training_has() {
    let known: BTreeSet<String> =
        templates(Side::Training).iter().flat_map(|one| words(one)).collect();
    let held_out = templates(Side::HeldOut);
    let unknown: BTreeSet<String> =
        held_out.iter().flat_map(|one| words(one)).filter(|word| !known.contains(word)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
