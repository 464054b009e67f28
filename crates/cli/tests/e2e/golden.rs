//! The trained model of 260 K parameters: its golden text, from both of its formats and on every
//! instruction set; the shapes of what is printed as JSON.

use std::path::{Path, PathBuf};

use crate::support::{Home, stories};

struct Stories {
    home: Home,
    bin: String,
    golden: String,
}

fn setup() -> Option<Stories> {
    let folder = stories()?;
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    let golden = std::fs::read_to_string(folder.join("GOLDEN_greedy_n200.txt")).unwrap();
    Some(Stories { home: Home::new(), bin: text(folder.join("stories260K.bin")), golden })
}

impl Stories {
    /// The GGUF file that `lucid convert` makes of it.
    fn gguf(&self) -> &'static str {
        self.home.ok(&["convert", &self.bin, "stories.gguf"]);
        "stories.gguf"
    }

    fn greedy(&self, model: &str, prompt: &str, more: &[&str]) -> String {
        self.home.ok(&[&["run", model, prompt, "--temp", "0", "-n", "200"], more].concat())
    }

    /// The golden text, whole, with the line break that ends every output.
    fn check_golden(&self, model: &str, more: &[&str]) {
        let expected = format!("{}\n", self.golden.trim_end_matches('\n'));
        assert_eq!(self.greedy(model, "", more), expected, "{model} {more:?}");
    }
}

#[test]
fn golden_text_from_both_formats_and_all_levels() {
    let Some(stories) = setup() else { return };
    let gguf = stories.gguf();
    for model in [&stories.bin, gguf] {
        stories.check_golden(model, &[]);
        stories.check_golden(model, &["--threads", "3", "--ctx", "256"]);
    }
    for level in ["scalar", "avx2", "avx512"] {
        let args = ["run", &stories.bin, "", "--temp", "0", "-n", "200", "--simd", level];
        let run = stories.home.run(&args);
        if run.code == Some(0) {
            stories.check_golden(&stories.bin, &["--simd", level, "--threads", "1"]);
        } else {
            run.check_refusal(&args, &["this processor has no", level]);
        }
    }
}

#[test]
fn prompts_continue() {
    let Some(stories) = setup() else { return };
    // The golden text begins with these words, so the rest must follow from them too.
    let prompt = "Once upon a time";
    let text = stories.greedy(&stories.bin, prompt, &[]);
    let common = text.bytes().zip(stories.golden.bytes()).take_while(|(a, b)| a == b).count();
    assert_eq!(common, stories.golden.trim_end().len(), "{text}");
    assert_eq!(stories.greedy(stories.gguf(), prompt, &[]), text);
    let home = &stories.home;
    let piped = home.run_with(&["run", &stories.bin, "--temp", "0", "-n", "200"], prompt);
    assert_eq!(piped.out, text);
    home.write("prompt.txt", prompt.as_bytes());
    let args = ["run", &stories.bin, "-f", "prompt.txt", "--temp", "0", "-n", "200"];
    assert_eq!(home.ok(&args), text);
    // A prompt and piped text stand one below the other.
    let args = ["run", &stories.bin, "Once", "--temp", "0", "-n", "1"];
    assert!(home.run_with(&args, "upon").out.starts_with("Once\n\nupon"));
    let short = home.json(&["run", &stories.bin, prompt, "-n", "7", "--json"]);
    assert_eq!((&short["answer_tokens"], &short["stop"]), (&7.into(), &"limit".into()));
}

#[test]
fn same_seed_same_text() {
    let Some(stories) = setup() else { return };
    let sampled = |seed: &str, more: &[&str]| {
        let args = ["run", &stories.bin, "A cat", "--temp", "1.1", "-n", "60", "--seed", seed];
        stories.home.ok(&[&args, more].concat())
    };
    let text = sampled("7", &[]);
    assert_eq!(sampled("7", &["-t", "4"]), text);
    assert_eq!(sampled("7", &["--simd", "scalar"]), text);
    assert_ne!(sampled("8", &[]), text);
    let args = ["dream", &stories.bin, "--count", "2", "-n", "40", "--seed", "7"];
    let dreams = stories.home.ok(&args);
    assert_eq!(stories.home.ok(&args), dreams);
    let (first, second) = dreams.split_once(&"─".repeat(40)).unwrap();
    assert_ne!(first.trim(), second.trim());
}

#[test]
fn json_shapes() {
    let Some(stories) = setup() else { return };
    let (home, bin) = (&stories.home, stories.bin.as_str());
    let run = home.json(&["run", bin, "Once upon a time", "--temp", "0", "-n", "5", "--json"]);
    assert_eq!(run["text"], ", there was a little");
    assert_eq!(run["prompt_tokens"], 5);
    assert!(run["prompt_seconds"].is_f64() && run["answer_seconds"].is_f64());

    let next = home.json(&["next", bin, "Once upon a time", "--top", "512", "--json"]);
    let rows = next["next"].as_array().unwrap();
    assert_eq!((rows.len(), next["prompt_tokens"].as_array().unwrap().len()), (512, 5));
    let probability = |row: &serde_json::Value| row["probability"].as_f64().unwrap();
    let sum: f64 = rows.iter().map(probability).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    assert!(rows.windows(2).all(|pair| probability(&pair[0]) >= probability(&pair[1])));
    assert_eq!((&rows[0]["piece"], rows[0]["id"].is_u64()), (&",".into(), true));

    let show = home.json(&["show", bin, "--tensors", "--metadata", "--ctx", "100", "--json"]);
    assert_eq!((&show["config"]["layers"], &show["config"]["width"]), (&5.into(), &64.into()));
    assert_eq!(show["weights"]["bytes"], std::fs::metadata(bin).unwrap().len());
    assert_eq!((&show["parameters"], &show["chat_template"]), (&260_032.into(), &false.into()));
    assert_eq!(show["memory"][0]["context"], 100);
    assert_eq!(show["metadata"]["general.architecture"], "llama");
    assert!(show["tensors"].as_array().unwrap().len() > 40);

    let tokenize = home.json(&["tokenize", bin, "Once upon a", "--json"]);
    assert_eq!(tokenize["ids"], serde_json::json!([1, 403, 407, 261]));
    assert_eq!(tokenize["count"], 4);
    assert_eq!(tokenize["pieces"], serde_json::json!(["<s>", " Once", " upon", " a"]));
    assert_eq!(home.json(&["list", "--json"]), serde_json::json!([]));
}

#[test]
fn next_as_a_table() {
    let Some(stories) = setup() else { return };
    let table = stories.home.ok(&["next", &stories.bin, "Once upon a time", "--top", "3"]);
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(lines[0].starts_with(',') && lines[0].contains('█') && lines[0].contains(" % "));
    assert!(lines[3].starts_with("(509 others)"), "{table}");
    assert!(!table.contains('\x1b'), "no colours into a pipe");
}

/// Logits of a token do not depend on how many passes computed what stands before it, on threads,
/// nor on the instruction set.
#[test]
fn logits() {
    let Some(stories) = setup() else { return };
    let home = &stories.home;
    let ids: Vec<String> = (0..300).map(|n| ((n * 37) % 512).to_string()).collect();
    let write = |ids: &[String], out: &str, more: &[&str]| {
        let ids = ids.join(",");
        home.ok(&[&["logits", &stories.bin, "--tokens", &ids, "--out", out], more].concat());
        read_npy(&home.path(out))
    };
    let (shape, whole) = write(&ids, "whole.npy", &[]);
    assert_eq!(shape, "(300, 512)");
    assert_eq!(write(&ids, "threads.npy", &["-t", "3"]).1, whole);
    assert_eq!(write(&ids, "scalar.npy", &["--simd", "scalar"]).1, whole);
    for len in [1, 2, 127, 128, 129, 200] {
        let (_, part) = write(&ids[..len], "part.npy", &[]);
        assert_eq!(part.len(), len * 512 * 4);
        assert!(whole.starts_with(&part), "the first {len} rows differ");
    }
    home.write("ids.txt", ids.join("\n").as_bytes());
    home.ok(&["logits", &stories.bin, "--tokens", "ids.txt", "--out", "file.npy"]);
    assert_eq!(read_npy(&home.path("file.npy")).1, whole);
    let args = ["logits", &stories.bin, "--tokens", "1,512", "--out", "no.npy"];
    home.fails(&args, &["token 512 is out of range", "0 to 511"]);
    assert!(!home.path("no.npy").exists());
}

fn read_npy(path: &Path) -> (String, Vec<u8>) {
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..end]).unwrap();
    assert!(header.contains("'descr': '<f4'") && header.contains("'fortran_order': False"));
    let (_, shape) = header.split_once("'shape': ").unwrap();
    (shape[..=shape.find(')').unwrap()].to_owned(), bytes[end..].to_vec())
}

/// What does not fit is refused, never cut.
#[test]
fn too_long_a_prompt() {
    let Some(stories) = setup() else { return };
    let long = "once upon a time ".repeat(40);
    let args = ["run", &stories.bin, &long, "--ctx", "64"];
    let run = stories.home.fails(&args, &["64", "--ctx"]);
    assert!(run.out.is_empty(), "{run:?}");
    let args = ["next", &stories.bin, &long, "--ctx", "64"];
    stories.home.fails(&args, &["64"]);
    let run = stories.home.run(&["run", &stories.bin, "Once", "--ctx", "16", "--temp", "0"]);
    assert_eq!(run.code, Some(0));
    assert!(run.err.contains("context of 16 tokens is full"), "{run:?}");
}
