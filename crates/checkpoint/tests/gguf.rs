//! Reading GGUF: what the writer wrote, real vocabularies, files in parts, a file larger than
//! memory.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use common::{TempDir, shared, small_file, small_writer};
use lucid_checkpoint::{Checkpoint, Format, GgufWriter, TokenizerSource};
use lucid_tensor::{DType, MetaArray, MetaValue, WeightSource};
use std::time::Instant;

#[test]
fn what_was_written_is_read() {
    let folder = TempDir::new("roundtrip");
    let path = folder.write("small.gguf", &small_file());
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.format(), Format::Gguf);
    assert_eq!(checkpoint.files(), [path]);
    assert_eq!(checkpoint.file_bytes(), small_file().len() as u64);
    assert!(matches!(checkpoint.tokenizer(), TokenizerSource::Metadata));

    let names = ["token_embd.weight", "output_norm.weight", "blk.0.attn_q.weight"];
    assert_eq!(checkpoint.tensor_names()[..3], names);
    let layout = small_writer().layout().unwrap();
    let view = checkpoint.tensor("blk.0.ffn_up.weight").unwrap();
    assert_eq!((view.dtype, &view.shape[..]), (DType::F16, &[2, 3, 2][..]));
    assert_eq!(&*view.data, [4; 24]);
    assert_eq!(view.offset, layout.offsets[3]);
    assert!(view.data.is_mapped());
    let view = checkpoint.tensor("blk.0.attn_q.weight").unwrap();
    assert_eq!((view.dtype, view.data.len()), (DType::Q4_0, 2 * 2 * 18));
    assert!(checkpoint.tensor("blk.0.attn_q").is_none());

    let metadata = checkpoint.metadata();
    assert_eq!(metadata.value("test.signed"), Some(&MetaValue::Signed(-3)));
    assert_eq!(metadata.unsigned("test.wide"), Ok(Some(1 << 40)));
    let tokens = MetaArray::texts(vec![b"<s>".to_vec(), vec![], vec![0xff, 0x80]]);
    assert_eq!(metadata.value("tokenizer.ggml.tokens"), Some(&MetaValue::Array(tokens)));
    let types = MetaArray::signed(vec![3, 1, -6]);
    assert_eq!(metadata.value("tokenizer.ggml.token_type"), Some(&MetaValue::Array(types)));
    let at = metadata.offset("llama.block_count").unwrap() as usize;
    assert_eq!(small_file()[at..at + 4], [1, 0, 0, 0], "the offset is that of the value");
}

#[test]
fn real_vocabularies_open_quickly() {
    let Some(shared) = shared() else { return };
    let mut count = 0;
    for entry in std::fs::read_dir(shared.join("tokenizers")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "gguf") {
            let start = Instant::now();
            let checkpoint = Checkpoint::open(&path).unwrap();
            println!("{}: {:?}", path.display(), start.elapsed());
            assert!(checkpoint.tensor_names().is_empty());
            assert!(matches!(checkpoint.tokenizer(), TokenizerSource::Metadata));
            count += 1;
        }
    }
    assert!(count >= 9, "only {count} vocabularies were found");
}

/// Parts of a set; `edit` changes the metadata of a part.
fn write_set(folder: &TempDir, edit: &dyn Fn(usize, &mut GgufWriter)) -> Vec<std::path::PathBuf> {
    let part = |number: usize| {
        let mut writer = GgufWriter::new();
        if number == 0 {
            writer.metadata("general.architecture", MetaValue::Text("llama".into()));
        }
        writer
            .metadata("split.no", MetaValue::Unsigned(number as u64))
            .metadata("split.count", MetaValue::Unsigned(3))
            .metadata("split.tensors.count", MetaValue::Unsigned(3));
        writer.tensor(format!("blk.{number}.attn_q.weight"), DType::F32, &[2, 2]).unwrap();
        edit(number, &mut writer);
        let data = vec![vec![number as u8; 16]; writer.tensor_count()];
        let data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
        let name = format!("set-{:05}-of-00003.gguf", number + 1);
        folder.write(&name, &writer.to_bytes(&data).unwrap())
    };
    (0..3).map(part).collect()
}

#[test]
fn any_part_opens_the_set() {
    let folder = TempDir::new("split");
    let paths = write_set(&folder, &|_, _| {});
    for path in &paths {
        let checkpoint = Checkpoint::open(path).unwrap();
        assert_eq!(checkpoint.files(), paths);
        assert_eq!(checkpoint.tensor_names().len(), 3);
        assert_eq!(&*checkpoint.tensor("blk.2.attn_q.weight").unwrap().data, [2; 16]);
        assert_eq!(checkpoint.metadata().text("general.architecture"), Ok(Some("llama")));
    }
    let renamed = folder.path().join("alone.gguf");
    std::fs::rename(&paths[0], &renamed).unwrap();
    let error = Checkpoint::open(&renamed).unwrap_err().to_string();
    assert!(error.contains("alone.gguf") && error.contains("split.count"), "{error}");
    let error = Checkpoint::open(&paths[1]).unwrap_err().to_string();
    assert!(error.contains("set-00001-of-00003.gguf"), "{error}");
}

#[test]
fn sets_that_do_not_fit_together_are_refused() {
    let check = |name: &str, edit: &dyn Fn(usize, &mut GgufWriter), expected: [&str; 2]| {
        let folder = TempDir::new(name);
        let paths = write_set(&folder, edit);
        let error = Checkpoint::open(&paths[1]).unwrap_err().to_string();
        assert!(error.contains(" byte "), "{error}");
        for expected in expected {
            assert!(error.contains(expected), "{error}");
        }
    };
    let set = |number: usize, key: &'static str, value: u64| {
        move |n: usize, writer: &mut GgufWriter| {
            if n == number {
                writer.metadata(key, MetaValue::Unsigned(value));
            }
        }
    };
    check("no", &set(1, "split.no", 2), ["set-00002-of-00003.gguf", "split.no"]);
    check("count", &set(2, "split.count", 4), ["set-00003-of-00003.gguf", "split.count"]);
    check("total", &set(0, "split.tensors.count", 4), ["set-00001", "split.tensors.count"]);
    let twice = |n: usize, writer: &mut GgufWriter| {
        if n == 2 {
            writer.tensor("blk.0.attn_q.weight", DType::F32, &[2, 2]).unwrap();
        } else if n == 0 {
            writer.metadata("split.tensors.count", MetaValue::Unsigned(4));
        }
    };
    check("twice", &twice, ["set-00003-of-00003.gguf", "blk.0.attn_q.weight"]);
}

/// 70 billion parameters in a sparse file: only the header's pages exist and are touched.
#[test]
fn a_file_larger_than_memory_opens_at_once() {
    let folder = TempDir::new("sparse");
    let mut writer = GgufWriter::new();
    writer.metadata("general.architecture", MetaValue::Text("llama".into()));
    writer.tensor("token_embd.weight", DType::Q4_K, &[128_256, 8192]).unwrap();
    for layer in 0..80 {
        let mut tensor = |name: &str, rows, cols| {
            let name = format!("blk.{layer}.{name}.weight");
            writer.tensor(name, DType::Q4_K, &[rows, cols]).unwrap();
        };
        tensor("attn_q", 8192, 8192);
        tensor("attn_k", 1024, 8192);
        tensor("attn_v", 1024, 8192);
        tensor("attn_output", 8192, 8192);
        tensor("ffn_gate", 28_672, 8192);
        tensor("ffn_up", 28_672, 8192);
        tensor("ffn_down", 8192, 28_672);
    }
    let layout = writer.layout().unwrap();
    assert!(layout.total > 38_000_000_000);
    let path = folder.write("70b.gguf", &layout.header);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    if let Err(error) = file.set_len(layout.total) {
        println!("skipped: the filesystem refuses a sparse file: {error}");
        return;
    }
    let start = Instant::now();
    let checkpoint = Checkpoint::open(&path).unwrap();
    println!("{} bytes in {:?}", layout.total, start.elapsed());
    let last = checkpoint.tensor("blk.79.ffn_down.weight").unwrap();
    assert_eq!(last.shape, [8192, 28_672]);
    assert_eq!(last.data[last.data.len() - 1], 0);
}
