//! Peak allocation on large and hostile JSON files: under twice the file plus 16 MiB.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::fmt::Write;

use lucid_sys::CountingAllocator;
use lucid_tokenizer::Tokenizer;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Length of each file.
const FILE_BYTES: usize = 20 << 20;

/// A file: `head`, then what `unit` writes of the running number until the file is long enough,
/// commas between, then `tail`.
fn write(file: &mut String, head: &str, tail: &str, unit: &dyn Fn(&mut String, usize)) {
    file.clear();
    file.push_str(head);
    let mut number = 0;
    while file.len() < FILE_BYTES {
        if number > 0 {
            file.push(',');
        }
        unit(file, number);
        number += 1;
    }
    file.push_str(tail);
}

/// Four to eight letters, different for each number.
fn letters(mut number: usize) -> String {
    let mut text = String::new();
    while number > 0 || text.len() < 4 {
        text.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    text
}

struct Measure {
    file: String,
}

impl Measure {
    /// The outcome, and that the peak stayed within the bound.
    fn check(
        &mut self,
        name: &str,
        (head, tail): (&str, &str),
        unit: &dyn Fn(&mut String, usize),
    ) -> Result<usize, String> {
        write(&mut self.file, head, tail, unit);
        self.run(name, false)
    }

    fn run(&self, name: &str, config: bool) -> Result<usize, String> {
        let json = self.file.as_bytes();
        let small = br#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}"#;
        let (outcome, peak) = CountingAllocator::peak_of(|| {
            if config {
                Tokenizer::from_tokenizer_json(small, Some(json))
            } else {
                Tokenizer::from_tokenizer_json(json, None)
            }
        });
        let outcome = outcome.map(|it| it.len()).map_err(|error| error.to_string());
        assert!(peak > 0, "nothing is counted");
        println!("{name}: {} MiB, {outcome:?}", peak >> 20);
        let bound = 2 * self.file.len() + (16 << 20);
        assert!(peak < bound, "{name}: {peak} bytes, bound {bound}, {outcome:?}");
        outcome
    }
}

#[test]
fn peak_memory_is_bounded() {
    let mut measure = Measure { file: String::new() };
    let zero = |out: &mut String, _: usize| out.push('0');
    let bpe = r#""model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}"#;
    let tail = format!("], {bpe}");
    let ok = measure.check("unknown key", (r#"{"unknown": ["#, &tail), &zero);
    assert_eq!(ok, Ok(1));
    let nested = |out: &mut String, _: usize| out.push_str("[0");
    assert!(measure.check("nested", (r#"{"unknown": "#, ""), &nested).is_err());
    let key = |out: &mut String, number: usize| write!(out, r#""{number:x}":0"#).unwrap();
    let tail = format!("}}, {bpe}");
    assert_eq!(measure.check("keys", (r#"{"unknown": {"#, &tail), &key), Ok(1));
    for part in ["normalizer", "pre_tokenizer", "post_processor", "decoder"] {
        let head = format!(r#"{{"{part}": ["#);
        let error = measure.check(part, (&head, &format!("], {bpe}")), &zero).unwrap_err();
        assert!(error.contains(part) && error.contains("limit"), "{error}");
    }
    let head = r#"{"model": {"type": "BPE", "merges": [], "vocab": "#;
    let list = format!("{head}[");
    assert!(measure.check("vocab of zeros", (&list, "]}}"), &zero).is_err());
    let object = format!("{head}{{");
    let error = measure.check("vocab of zero ids", (&object, "}}}"), &key).unwrap_err();
    assert!(error.contains("both"), "{error}");
    let token = |out: &mut String, number: usize| {
        write!(out, r#""{}":{number}"#, letters(number)).unwrap();
    };
    let short = measure.check("vocab of short texts", (&object, "}}}"), &token);
    assert!(short.is_ok_and(|count| count > 1_000_000));
    let head = r#"{"model": {"type": "BPE", "vocab": {"a":0,"aa":1}, "merges": ["#;
    assert!(measure.check("merges of zeros", (head, "]}}"), &zero).is_err());
    let merge = |out: &mut String, _: usize| out.push_str(r#""a a""#);
    let error = measure.check("short merges", (head, "]}}"), &merge).unwrap_err();
    assert!(error.contains("memory for model.merges"), "{error}");
    let head = r#"{"model": {"type": "Unigram", "vocab": ["#;
    assert!(measure.check("unigram of zeros", (head, "]}}"), &zero).is_err());
    let long = |out: &mut String, number: usize| {
        let text = "xyz".repeat(100_000);
        write!(out, r#"["{number}{text}",-1]"#).unwrap();
    };
    let error = measure.check("long texts", (head, "]}}"), &long).unwrap_err();
    assert!(error.contains("length of a unigram piece"), "{error}");
    let head = r#"{"added_tokens": ["#;
    let tail = format!("], {bpe}");
    assert!(measure.check("added zeros", (head, &tail), &zero).is_err());
    let added = |out: &mut String, number: usize| {
        let text = letters(number);
        write!(out, r#"{{"id":{},"content":"{text}"}}"#, number + 1).unwrap();
    };
    let error = measure.check("added", (head, &tail), &added).unwrap_err();
    assert!(error.contains("memory for"), "{error}");
    configs(&mut measure);
    // Last, because the allocator keeps its memory.
    legal(&mut measure);
}

/// A letter, or the name of an earlier token and a letter.
fn name(mut id: usize) -> String {
    let mut text = String::new();
    while id >= 26 {
        text.insert(0, char::from(b'a' + (id % 26) as u8));
        id = (id - 26) / 26;
    }
    text.insert(0, char::from(b'a' + id as u8));
    text
}

/// As large vocabularies are written: indented, with merges as pairs.
fn legal(measure: &mut Measure) {
    let (count, file) = (330_000, &mut measure.file);
    file.clear();
    file.push_str("{\"model\": {\"type\": \"BPE\", \"vocab\": {\n");
    for id in 0..count {
        let comma = if id + 1 < count { "," } else { "" };
        writeln!(file, "      \"{}\": {id}{comma}", name(id)).unwrap();
    }
    file.push_str("    },\n    \"merges\": [\n");
    for id in 26..count {
        let comma = if id + 1 < count { "," } else { "" };
        let (left, right) = (name((id - 26) / 26), name(id % 26));
        writeln!(file, "      [\n        \"{left}\",\n        \"{right}\"\n      ]{comma}")
            .unwrap();
    }
    file.push_str("    ]}}");
    println!("legal: a file of {} MiB", measure.file.len() >> 20);
    assert_eq!(measure.run("legal", false), Ok(count));
}

fn configs(measure: &mut Measure) {
    let zero = |out: &mut String, _: usize| out.push('0');
    let entry = |out: &mut String, number: usize| {
        write!(out, r#""{number}":{{"content":"{}"}}"#, letters(number)).unwrap();
    };
    write(&mut measure.file, r#"{"added_tokens_decoder": {"#, "}}", &entry);
    assert_eq!(measure.run("config: added tokens", true), Ok(1));
    for key in ["chat_template", "bos_token"] {
        write(&mut measure.file, &format!(r#"{{"{key}": ["#), "]}", &zero);
        assert!(measure.run(key, true).unwrap_err().contains(key));
    }
    write(&mut measure.file, r#"{"unknown": ["#, "]}", &zero);
    assert_eq!(measure.run("config: unknown key", true), Ok(1));
}
