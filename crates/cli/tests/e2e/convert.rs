//! Conversions: what is written where, and what is left when one is killed.

use crate::support::Home;
use crate::tiny::Tiny;

#[test]
fn an_existing_file_is_not_replaced_unasked() {
    let home = Home::new();
    home.write("tiny.gguf", &Tiny::new().bytes());
    home.write("out.gguf", b"precious");
    home.fails(&["convert", "tiny.gguf", "out.gguf"], &["out.gguf exists already", "--force"]);
    assert_eq!(std::fs::read(home.path("out.gguf")).unwrap(), b"precious");
    home.ok(&["convert", "tiny.gguf", "out.gguf", "--force"]);
    assert_eq!(home.ok(&["run", "out.gguf", "x", "--temp", "0"]), "Hi!\n");
    home.fails(&["convert", "tiny.gguf", "x.gguf", "--type", "q9"], &["--type q9", "q8_0"]);
    home.fails(&["convert", "tiny.gguf", "no/such/folder.gguf"], &["no/such/folder.gguf"]);
}

#[test]
fn other_number_formats_answer_alike() {
    let home = Home::new();
    home.write("tiny.gguf", &Tiny::new().bytes());
    for (name, label) in [("f16", "F16"), ("bf16", "BF16"), ("q8_0", "Q8_0"), ("q4_0", "Q4_0")] {
        let out = format!("{name}.gguf");
        home.ok(&["convert", "tiny.gguf", &out, "--type", name]);
        assert_eq!(home.ok(&["run", &out, "x", "--temp", "0"]), "Hi!\n", "{name}");
        let types = home.json(&["show", &out, "--json"])["types"].clone();
        assert!(types[label]["bytes"].as_u64().unwrap() > 0, "{types}");
    }
}

/// Writes big.gguf.
fn big(home: &Home) {
    // A head of many rows, of holes: a second's worth of writing.
    let layout = {
        let mut writer = lucid_checkpoint::GgufWriter::new();
        for (key, value) in Tiny::new().metadata {
            writer.metadata(key, value);
        }
        let dtype = lucid_tensor::DType::F32;
        writer.tensor("token_embd.weight", dtype, &[1 << 22, 64]).unwrap();
        writer.layout().unwrap()
    };
    let big = home.write("big.gguf", &layout.header);
    std::fs::File::options().write(true).open(&big).unwrap().set_len(layout.total).unwrap();
}

/// The output gets its name when it is whole, and not before.
#[cfg(unix)]
#[test]
fn a_killed_conversion_leaves_no_half_file() {
    let home = Home::new();
    big(&home);
    let entries = || std::fs::read_dir(home.path("")).unwrap().count();
    let before = entries();
    let mut child = home.command(&["convert", "big.gguf", "out.gguf"]).spawn().unwrap();
    // Killed as soon as something is being written, under whatever name.
    while entries() == before && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    crate::support::signal(&child, "-KILL");
    let status = child.wait().unwrap();
    assert!(!status.success(), "the conversion was too fast for this test");
    assert!(!home.path("out.gguf").exists());
    home.write("tiny.gguf", &Tiny::new().bytes());
    home.ok(&["convert", "tiny.gguf", "out.gguf"]);
    assert_eq!(home.ok(&["run", "out.gguf", "x", "--temp", "0"]), "Hi!\n");
}

/// Ctrl-C leaves nothing behind.
#[cfg(unix)]
#[test]
fn an_interrupted_conversion_leaves_nothing() {
    let home = Home::new();
    big(&home);
    let entries = || std::fs::read_dir(home.path("")).unwrap().count();
    let before = entries();
    let mut child = home.command(&["convert", "big.gguf", "out.gguf"]).spawn().unwrap();
    while entries() == before && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    crate::support::signal(&child, "-INT");
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130), "or the conversion was too fast for this test");
    assert_eq!(entries(), before);
}
