//! `lucid tokenizer`: what is made, what is reported, and what is refused.

use crate::support::Home;

fn corpus(home: &Home) {
    let prose = "the cat sat on the mat, and the dog sat on the cat.\n\n".repeat(40);
    home.write("texts/prose.txt", prose.as_bytes());
    home.write("texts/more/code.rs", "fn main() { print(\"caf\u{e9}\"); }\n".repeat(30).as_bytes());
    home.write("texts/.hidden", b"never read");
    home.write("texts/picture.png", b"\x89PNG\0\0\0");
    home.write("texts/latin1.txt", b"caf\xE9 ".repeat(20).as_slice());
}

#[test]
fn a_folder_becomes_a_vocabulary() {
    let home = Home::new();
    corpus(&home);
    let train = ["tokenizer", "train", "texts", "--vocab-size", "300", "--gguf", "v.gguf"];
    let run = home.run(&train);
    assert_eq!((run.code, run.out.as_str()), (Some(0), ""), "{run:?}");
    for words in ["no text were left out: 1 ", "picture.png", "not UTF-8: 1 ", "300 tokens"] {
        assert!(run.err.contains(words), "{words}: {}", run.err);
    }
    assert!(!run.err.contains('\r'), "a bar in a pipe: {run:?}");
    // Both files are one vocabulary, and each is read by its own reader.
    let report = |vocabulary: &str| {
        home.json(&["tokenizer", "report", vocabulary, "texts/prose.txt", "--json"])
    };
    let (mut json, mut gguf) = (report("tokenizer.json"), report("v.gguf"));
    for report in [&mut json, &mut gguf] {
        report["encode_seconds"] = 0.into();
    }
    assert_eq!(json, gguf);
    assert_eq!(json["tokens"], 300);
    assert!(json["all"]["bytes_per_token"].as_f64().unwrap() > 2.5, "{json}");
    // Again, as JSON, on one thread: the same bytes.
    let before = std::fs::read(home.path("tokenizer.json")).unwrap();
    home.fails(&train, &["tokenizer.json exists already", "--force"]);
    let again = ["texts", "--vocab-size", "300", "--threads", "1", "--force", "--json"];
    let said = home.json(&[&["tokenizer", "train"], &again[..]].concat());
    assert_eq!((&said["tokens"], &said["documents"]), (&300.into(), &3.into()), "{said}");
    assert_eq!(std::fs::read(home.path("tokenizer.json")).unwrap(), before);
}

#[test]
fn a_report_says_what_is_what() {
    let home = Home::new();
    corpus(&home);
    home.ok(&["tokenizer", "train", "texts/prose.txt", "--vocab-size", "270", "--no-special"]);
    let report = ["tokenizer", "report", "tokenizer.json", "texts", "--json"];
    let report = home.json(&report);
    let kinds: Vec<_> = report["kinds"].as_object().unwrap().keys().collect();
    assert_eq!(kinds, [".rs", ".txt"]);
    let (code, prose) = (&report["kinds"][".rs"], &report["kinds"][".txt"]);
    assert_eq!((&code["texts"], &prose["texts"]), (&1.into(), &2.into()));
    // One byte in two tokens for each `é` of the code.
    let share = code["single_byte_share"].as_f64().unwrap();
    let tokens = code["tokens"].as_f64().unwrap();
    assert!((share * tokens - 60.0).abs() < 1e-6, "{report}");
    let covered = report["coverage"].as_array().unwrap();
    assert_eq!(covered.last().unwrap()["tokens"], 1.0);
    let unused = report["unused"].as_u64().unwrap();
    assert_eq!(unused + report["used"].as_u64().unwrap(), 270);
    assert_eq!(report["unused_ids"].as_array().unwrap().len() as u64, unused);
    let table = home.ok(&["tokenizer", "report", "tokenizer.json", "texts", "texts/prose.txt"]);
    for words in ["KIND", "texts/prose.txt", "all", "coverage", "unused"] {
        assert!(table.contains(words), "{words}: {table}");
    }
}

#[test]
fn what_cannot_be_trained_on_is_refused() {
    let home = Home::new();
    corpus(&home);
    home.write("empty.txt", b"");
    home.write("empty/.keep", b"");
    let fails = |inputs: &[&str], words: &[&str]| {
        let run = home.fails(&[&["tokenizer", "train"], inputs].concat(), words);
        assert!(!home.path("tokenizer.json").exists(), "{run:?}");
    };
    fails(&["absent.txt"], &["cannot read absent.txt"]);
    fails(&["empty"], &["there is no text in empty"]);
    fails(&["empty.txt"], &["empty.txt", "text to train on is missing"]);
    fails(&["texts/picture.png"], &["picture.png is no text", "byte 4", "--binary"]);
    fails(&["texts", "--vocab-size", "200"], &["200 tokens", "266 is the least"]);
    fails(&["texts", "--pattern", "gpt9"], &["--pattern", "gpt9", "llama3"]);
    fails(&["texts", "--pattern", "("], &["--pattern"]);
    fails(&["texts", "--special", "x"], &["special token 0"]);
    fails(&["texts", "-o", "no/such/t.json"], &["no/such/t.json"]);
    home.fails(&["tokenizer", "report", "texts/prose.txt", "texts"], &["prose.txt"]);
    home.write("bad.json", b"{}");
    home.fails(&["tokenizer", "report", "bad.json", "texts"], &["bad.json", "model"]);
    home.ok(&["tokenizer", "train", "texts/picture.png", "--binary", "--vocab-size", "266"]);
}

#[test]
fn help_shows_examples() {
    let home = Home::new();
    for command in ["train", "report"] {
        for help in ["-h", "--help"] {
            let text = home.ok(&["tokenizer", command, help]);
            assert!(text.contains("Examples:\n  lucid tokenizer"), "{text}");
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= 100, "{command} {help}: {widest} columns\n{text}");
        }
    }
}
