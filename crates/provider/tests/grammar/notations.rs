//! Regular expressions, choices, Lark and GBNF.

use lucid_provider::OutputFormat;
use lucid_provider::grammar::Grammars;

use super::answer::{Ended, Model, constraint};
use super::vocabularies;

/// Answers of a format, from several seeds.
fn answers(format: &OutputFormat) -> Vec<String> {
    let tokenizer = vocabularies::bytes();
    let grammars = Grammars::new(&tokenizer).unwrap();
    let model = Model::new(&tokenizer);
    let mut texts = Vec::new();
    for seed in 0..12 {
        let mut constraint = constraint(&grammars, format).unwrap();
        let answer = model.answer(&mut *constraint, seed, 300).unwrap();
        if answer.ended == Ended::Whole {
            texts.push(answer.text);
        }
    }
    assert!(texts.len() >= 6, "{format:?}: {texts:?}");
    texts
}

fn refusal(format: &OutputFormat) -> String {
    let grammars = Grammars::new(&vocabularies::bytes()).unwrap();
    match constraint(&grammars, format) {
        Ok(_) => panic!("{format:?} was taken"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_regular_expression_matches_the_whole() {
    for text in answers(&OutputFormat::Regex("[a-c]{2}(?:-[0-9]{1,3})?".to_owned())) {
        let (letters, rest) = text.split_at(2);
        assert!(letters.chars().all(|letter| "abc".contains(letter)), "{text}");
        let number = rest.strip_prefix('-').unwrap_or("0");
        assert!((1..=3).contains(&number.len()) && number.parse::<u32>().is_ok(), "{text}");
    }
    assert!(refusal(&OutputFormat::Regex("(".to_owned())).contains("cannot be used"));
    assert!(refusal(&OutputFormat::Regex(String::new())).contains("empty"));
}

#[test]
fn a_choice_is_one_of_its_texts() {
    let texts = [" yes", "no\n", "\"maybe\"", "y", "größer", "a\\b", ""];
    let format = OutputFormat::Choice(texts.iter().map(|&text| text.to_owned()).collect());
    let found = answers(&format);
    assert!(found.iter().all(|text| texts.contains(&text.as_str())), "{found:?}");
    let distinct: std::collections::HashSet<_> = found.iter().collect();
    assert!(distinct.len() > 2, "{found:?}");
    assert!(refusal(&OutputFormat::Choice(Vec::new())).contains("nothing to choose from"));
}

#[test]
fn lark_is_kept_to() {
    let grammar = "start: WORD (\" \" WORD){2}\nWORD: /[a-z]{1,4}/\n";
    for text in answers(&OutputFormat::Lark(grammar.to_owned())) {
        assert_eq!(text.split(' ').count(), 3, "{text}");
    }
    let error = refusal(&OutputFormat::Lark("start: missing\n".to_owned()));
    assert!(error.contains("missing"), "{error}");
    let error = refusal(&OutputFormat::Lark(String::new()));
    assert!(error.contains("cannot be used"), "{error}");
}

#[test]
fn gbnf_is_kept_to() {
    let check = |grammar: &str, holds: &dyn Fn(&str) -> bool| {
        for text in answers(&OutputFormat::Gbnf(grammar.to_owned())) {
            assert!(holds(&text), "{grammar}\n{text:?}");
        }
    };
    check("root ::= \"a\" | \"b\" # a comment\n", &|text| text == "a" || text == "b");
    check("root ::= [a-c]{2,3} \"!\"?", &|text| {
        let letters = text.trim_end_matches('!');
        (2..=3).contains(&letters.len()) && letters.chars().all(|c| "abc".contains(c))
    });
    check("root ::= (\"x\" | \"y\"\n)+ [^a-y]\n", &|text| {
        let end = text.trim_start_matches(['x', 'y']);
        end.chars().count() == 1 && !('a'..='y').contains(&end.chars().next().unwrap())
    });
    check("root ::= \"\\x41\\u00e9\\U0001F600\\t\\\"\\\\\" [\\]\\-]", &|text| {
        text == "Aé😀\t\"\\]" || text == "Aé😀\t\"\\-"
    });
    check("root ::= word \" \"{0} word\r\nword ::= [0-9] [0-9]?\r\n", &|text| {
        (2..=4).contains(&text.len()) && text.parse::<u32>().is_ok()
    });
    // What recurs.
    let nested = "root ::= list\nlist ::= \"[\" space (item (\",\" space item)*)? \"]\"\n\
                  item ::= [0-9] | list\nspace ::= \" \"?\n";
    check(nested, &|text| serde_json::from_str::<serde_json::Value>(text).is_ok());
    check("root ::= \"(\" root \")\" | \"\"\n", &|text| {
        let half = text.len() / 2;
        text.len() % 2 == 0 && text == "(".repeat(half) + &")".repeat(half)
    });
}

#[test]
fn gbnf_with_a_mistake_is_refused_with_its_place() {
    let check = |grammar: &str, expected: &str| {
        let error = refusal(&OutputFormat::Gbnf(grammar.to_owned()));
        assert!(error.contains(expected), "{grammar:?}: {error}");
    };
    check("", "no rule `root`");
    check("start ::= \"a\"", "no rule `root`");
    check("root ::= a\n", "line 1, column 10: there is no rule `a`");
    check("root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1: the rule `root` is there already");
    check("root ::= root \"a\" | \"b\"", "line 1, column 1: the rule `root` begins with itself");
    check("root ::= a?\na ::= \" \"* b\nb ::= a \"x\"", "(left recursion)");
    check("root ::= \"a", "line 1, column 10: the text is not closed");
    check("root ::= [a", "line 1, column 10: the class is not closed");
    check("root ::= [a-", "line 1, column 13: expected a character");
    check("root ::= [z-a]", "ends before it begins");
    check("root ::= []", "the class is empty");
    check("root ::= (\"a\"\n", "line 2, column 1: expected `)`, found the end");
    check("root ::= \"a\" )", "line 1, column 14: expected the end of the line");
    check("root = \"a\"", "line 1, column 6: expected `::=`");
    check("root ::= \"\\q\"", "line 1, column 11: this escape is not known");
    check("root ::= \"\\ud800\"", "no character of this number");
    check("root ::= \"a\"{3,2}", "the repetition ends before it begins");
    check("root ::= \"a\"{999999}", "more than 10000 repetitions");
    check("root ::= \"a\"{x}", "expected a number");
    check("root ::= <think>", "tokens are not taken");
}

#[test]
fn forced_tokens_are_those_of_the_tokenizer() {
    for (name, tokenizer) in vocabularies::real() {
        let grammars = Grammars::new(&tokenizer).unwrap();
        let text = "The answer to everything is forty-two, and nothing else will do. {\"a\": 1}";
        let format = OutputFormat::Choice(vec![text.to_owned()]);
        let model = Model::new(&tokenizer);
        let mut constraint = constraint(&grammars, &format).unwrap();
        let answer = model.answer(&mut *constraint, 1, 200).unwrap();
        assert_eq!(answer.text, text, "{name}");
        assert!(answer.forced * 10 >= answer.tokens.len() * 8, "{name}: {answer:?}");
        // The first words may be cut in several ways; the rest is cut as the tokenizer does.
        let whole = tokenizer.encode(
            text.as_bytes(),
            &[],
            lucid_tokenizer::AddSpecial::No,
            lucid_tokenizer::ParseSpecial::No,
        );
        let tail = 8;
        assert_eq!(
            answer.tokens[answer.tokens.len() - tail..],
            whole[whole.len() - tail..],
            "{name}"
        );
    }
}

#[test]
fn a_duplicate_goes_on_alike() {
    let tokenizer = vocabularies::bytes();
    let grammars = Grammars::new(&tokenizer).unwrap();
    let model = Model::new(&tokenizer);
    let schema = serde_json::json!({"type": "object", "properties": {
        "a": {"type": "string", "maxLength": 9}, "b": {"type": "integer"}},
        "required": ["a", "b"]});
    let format = OutputFormat::JsonSchema(schema);
    let mut first = constraint(&grammars, &format).unwrap();
    model.answer(&mut *first, 3, 6).unwrap();
    let mut second = first.duplicate();
    let one = model.answer(&mut *first, 4, 300).unwrap();
    let other = model.answer(&mut *second, 4, 300).unwrap();
    assert_eq!(one.tokens, other.tokens);
    // A token that does not conform ends it for good.
    let mut third = constraint(&grammars, &format).unwrap();
    let wrong = tokenizer.token_id(b"Z").unwrap();
    assert!(third.accept(wrong).is_err() && third.forced().is_err() && !third.may_end());
    let mut mask = lucid_engine::TokenMask::new(tokenizer.len());
    assert!(third.mask(&mut mask).is_err());
}
