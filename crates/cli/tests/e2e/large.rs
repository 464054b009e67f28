//! A file shaped like a model of 70 billion parameters, of holes: it opens at once, is described,
//! and what it will cost is said before anything is read.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lucid_checkpoint::GgufWriter;
use lucid_tensor::{DType, MetaArray, MetaValue};

use crate::support::Home;
use crate::tiny::byte_alphabet;

const LAYERS: usize = 80;
const WIDTH: usize = 8192;
const KV_WIDTH: usize = 1024;
const FEED_FORWARD: usize = 28_672;
const VOCABULARY: usize = 128_256;

/// Bytes, pairs of bytes and triples, each with the merge that makes it.
fn vocabulary() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let bytes: Vec<String> = byte_alphabet().iter().map(char::to_string).collect();
    let pairs = bytes.iter().flat_map(|a| bytes.iter().map(move |b| (a.clone(), b.clone())));
    let triples = bytes.iter().flat_map(|a| {
        let pair = |b: &String| (format!("{}{b}", bytes[0]), a.clone());
        bytes.iter().map(pair).collect::<Vec<_>>()
    });
    let made: Vec<_> = pairs.chain(triples).take(VOCABULARY - 256).collect();
    let joined = made.iter().map(|(left, right)| format!("{left}{right}"));
    let tokens = bytes.iter().cloned().chain(joined).map(String::into_bytes).collect();
    let merges = made.iter().map(|(left, right)| format!("{left} {right}").into_bytes()).collect();
    (tokens, merges)
}

fn writer() -> GgufWriter {
    let mut writer = GgufWriter::new();
    let (tokens, merges) = vocabulary();
    let text = |text: &str| MetaValue::Text(text.to_owned());
    let number = |value: usize| MetaValue::Unsigned(value as u64);
    writer
        .metadata("general.architecture", text("llama"))
        .metadata("llama.block_count", number(LAYERS))
        .metadata("llama.context_length", number(131_072))
        .metadata("llama.embedding_length", number(WIDTH))
        .metadata("llama.feed_forward_length", number(FEED_FORWARD))
        .metadata("llama.attention.head_count", number(64))
        .metadata("llama.attention.head_count_kv", number(8))
        .metadata("llama.attention.layer_norm_rms_epsilon", MetaValue::Float(1e-5))
        .metadata("tokenizer.ggml.model", text("gpt2"))
        .metadata("tokenizer.ggml.pre", text("llama-bpe"))
        .metadata("tokenizer.ggml.tokens", MetaValue::Array(MetaArray::texts(tokens)))
        .metadata("tokenizer.ggml.merges", MetaValue::Array(MetaArray::texts(merges)));
    let mut put = |name: &str, dtype: DType, shape: &[usize]| {
        writer.tensor(name, dtype, shape).unwrap();
    };
    put("token_embd.weight", DType::Q4_K, &[VOCABULARY, WIDTH]);
    put("output.weight", DType::Q6_K, &[VOCABULARY, WIDTH]);
    put("output_norm.weight", DType::F32, &[WIDTH]);
    for layer in 0..LAYERS {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        put(&name("attn_norm"), DType::F32, &[WIDTH]);
        put(&name("ffn_norm"), DType::F32, &[WIDTH]);
        put(&name("attn_q"), DType::Q4_K, &[WIDTH, WIDTH]);
        put(&name("attn_k"), DType::Q4_K, &[KV_WIDTH, WIDTH]);
        put(&name("attn_v"), DType::Q6_K, &[KV_WIDTH, WIDTH]);
        put(&name("attn_output"), DType::Q4_K, &[WIDTH, WIDTH]);
        put(&name("ffn_gate"), DType::Q4_K, &[FEED_FORWARD, WIDTH]);
        put(&name("ffn_up"), DType::Q4_K, &[FEED_FORWARD, WIDTH]);
        put(&name("ffn_down"), DType::Q4_K, &[WIDTH, FEED_FORWARD]);
    }
    writer
}

/// The sparse file, or `None` with a note where the file system has no holes.
fn sparse(home: &Home) -> Option<(PathBuf, u64)> {
    let layout = writer().layout().unwrap();
    let path = home.write("large.gguf", &layout.header);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    if file.set_len(layout.total).is_err() {
        println!("skipped: the file system refuses a sparse file of {} bytes", layout.total);
        return None;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        if file.metadata().unwrap().blocks() * 512 > layout.total / 2 {
            println!("skipped: the file system has no sparse files");
            return None;
        }
    }
    Some((path, layout.total))
}

fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

#[test]
fn shown_at_once_and_run_with_a_warning() {
    let home = Home::new();
    let Some((_, total)) = sparse(&home) else { return };
    let started = Instant::now();
    let show = home.json(&["show", "large.gguf", "--json", "--ctx", "4096"]);
    let elapsed = started.elapsed();
    println!("show of {total} bytes: {elapsed:?}");
    assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
    assert_eq!(show["weights"]["bytes"], total);
    let parameters = show["parameters"].as_u64().unwrap();
    assert!((70_000_000_000..71_000_000_000).contains(&parameters), "{parameters}");
    let text = home.ok(&["show", "large.gguf"]);
    assert!(text.contains("80 layers, width 8192, feed-forward 28672"), "{text}");
    assert!(text.contains("64 query heads, 8 key-value heads, 128 wide"), "{text}");

    if available_bytes().is_none_or(|available| available > total) {
        println!("skipped: this machine may have the memory that the model needs");
        return;
    }
    let mut child = home.command(&["run", "large.gguf", "x", "-n", "1"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.stdout.is_empty(), "nothing is answered before the warning");
    assert!(line.contains("warning: the weights take") && line.contains("from disk"), "{line}");
    assert!(line.contains(" s a token"), "{line}");
}
