//! `xtask synth SHAPE TYPE OUT.gguf`: a GGUF file of a real model's shape with random weights, so
//! that anyone can measure speed and arithmetic without a download.
//!
//! The weights are scaled so that activations keep their size through the layers: standard
//! deviation 1 / sqrt(columns), twice that for queries (attention then prefers some positions), and
//! an output norm of 3, which gives logits a standard deviation near 3. Each tensor has a stream of
//! random numbers of its own, so a file depends on shape, type and seed alone. Tensors are written
//! as they are made: the memory needed is one megabyte.

mod blocks;
mod mix;
mod random;
mod shapes;
mod vocabulary;

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use lucid_checkpoint::{CheckpointError, GgufWriter};
use lucid_tensor::{DType, MetaValue};

use blocks::Filler;
use mix::Mix;
use random::Random;
use shapes::Shape;

/// Bytes that are made at once.
const CHUNK_BYTES: usize = 1 << 20;
/// The output norm, hence the standard deviation of logits.
const OUTPUT_NORM: f32 = 3.0;
/// Norm weights and biases vary by this much.
const JITTER: f32 = 0.1;

#[derive(Args)]
#[command(after_help = "Examples:
  cargo run --release -p xtask -- synth llama-1b q4_k_m llama-1b-q4_k_m.gguf
  cargo run --release -p xtask -- synth list list -      the names of shapes and types")]
pub(crate) struct Arguments {
    /// llama-1b, llama-8b, qwen3-0.6b, ... (`list` prints all)
    shape: String,
    /// A number format (q4_0, bf16, ...) or a mix of them (q4_k_m, q5_k_m)
    #[arg(value_name = "TYPE")]
    mix: String,
    /// The file to write; it is replaced where it exists
    #[arg(value_name = "OUT.gguf")]
    out: PathBuf,
    /// Other numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The head in TYPE too, where the quantiser would choose Q6_K or Q8_0
    #[arg(long)]
    pure: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.shape == "list" || arguments.mix == "list" {
        println!("shapes: {}", shapes::names().collect::<Vec<_>>().join(" "));
        println!("types:  {}", mix::names().collect::<Vec<_>>().join(" "));
        return Ok(());
    }
    let Some(shape) = shapes::named(&arguments.shape) else {
        let known = shapes::names().collect::<Vec<_>>().join(", ");
        bail!("there is no shape `{}`; there are {known}", arguments.shape);
    };
    let Some(mut mix) = Mix::named(&arguments.mix) else {
        let known = mix::names().collect::<Vec<_>>().join(", ");
        bail!("there is no type `{}`; there are {known}", arguments.mix);
    };
    mix.pure = arguments.pure;
    let folder = arguments.out.parent().filter(|folder| !folder.as_os_str().is_empty());
    ensure!(folder.is_none_or(Path::is_dir), "no folder for {}", arguments.out.display());
    let shows = io::stderr().is_terminal();
    let mut last = Instant::now();
    let mut progress = |done: u64, total: u64| {
        if shows && last.elapsed() > Duration::from_millis(200) {
            last = Instant::now();
            eprint!("\r{:3} % of {} MB", done * 100 / total.max(1), total / 1_000_000);
        }
    };
    let total = write(shape, mix, arguments.seed, &arguments.out, &mut progress)
        .with_context(|| format!("cannot write {}", arguments.out.display()))?;
    let erase = if shows { "\r" } else { "" };
    eprintln!("{erase}wrote {} ({} MB)", arguments.out.display(), total / 1_000_000);
    Ok(())
}

/// A tensor before its numbers are made.
struct Tensor {
    name: String,
    dtype: DType,
    dims: Vec<usize>,
    content: Content,
}

enum Content {
    /// Zero on average, with this standard deviation.
    Spread(f32),
    /// Around this value.
    Around(f32),
}

/// Writes the file; returns its length.
pub(crate) fn write(
    shape: &Shape,
    mix: Mix,
    seed: u64,
    out: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, CheckpointError> {
    let tensors = tensors(shape, mix);
    let mut writer = GgufWriter::new();
    shape.metadata(&mut writer);
    vocabulary::metadata(shape.vocab, &mut writer);
    writer.metadata("general.file_type", MetaValue::Unsigned(mix.file_type));
    writer.metadata("general.quantization_version", MetaValue::Unsigned(2));
    for tensor in &tensors {
        writer.tensor(&tensor.name, tensor.dtype, &tensor.dims)?;
    }
    let total = writer.layout()?.total;
    let mut done = 0;
    let written = lucid_sys::write_atomic(out, |file| {
        let mut data = |number: usize, out: &mut dyn Write| {
            let random = Random::new(seed, number as u64);
            tensors[number].write(random, out, &mut |bytes| {
                done += bytes as u64;
                progress(done, total);
            })
        };
        writer.write(file, &mut data).map(|_| ()).map_err(io::Error::other)
    });
    written.map_err(CheckpointError::Write)?;
    Ok(total)
}

impl Tensor {
    fn write(
        &self,
        mut random: Random,
        out: &mut dyn Write,
        report: &mut dyn FnMut(usize),
    ) -> io::Result<()> {
        let elements = self.dims.iter().product::<usize>();
        match self.content {
            Content::Around(value) => {
                for _ in 0..elements {
                    let x = value * (1.0 + JITTER * random.gauss());
                    out.write_all(&x.to_le_bytes())?;
                }
                report(elements * 4);
            }
            Content::Spread(deviation) => {
                let filler = Filler::new(self.dtype, deviation);
                let bytes = elements / self.dtype.block_len() * self.dtype.block_bytes();
                let chunk_bytes = CHUNK_BYTES / self.dtype.block_bytes() * self.dtype.block_bytes();
                let mut chunk = vec![0; chunk_bytes.min(bytes)];
                let mut left = bytes;
                while left > 0 {
                    let part = &mut chunk[..left.min(chunk_bytes)];
                    filler.fill(&mut random, part);
                    out.write_all(part)?;
                    report(part.len());
                    left -= part.len();
                }
            }
        }
        Ok(())
    }
}

/// All tensors, in the order in which llama.cpp's converter writes them.
fn tensors(shape: &Shape, mix: Mix) -> Vec<Tensor> {
    let mut all = Vec::new();
    let mut matrix = |name: String, layer: usize, rows: usize, cols: usize, gain: f32| {
        let dtype = mix.dtype(&name, layer, shape.layers, cols, shape.tied);
        let content = Content::Spread(gain / (cols as f32).sqrt());
        all.push(Tensor { name, dtype, dims: vec![rows, cols], content });
    };
    matrix("token_embd.weight".to_owned(), 0, shape.vocab, shape.width, 1.0);
    if !shape.tied {
        matrix("output.weight".to_owned(), 0, shape.vocab, shape.width, 1.0);
    }
    let (queries, keys) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    for layer in 0..shape.layers {
        let (width, wide) = (shape.width, shape.feed_forward);
        for (part, rows, cols, gain) in [
            ("attn_q", queries, width, 2.0),
            ("attn_k", keys, width, 1.0),
            ("attn_v", keys, width, 1.0),
            ("attn_output", width, queries, 1.0),
            ("ffn_gate", wide, width, 1.0),
            ("ffn_up", wide, width, 1.0),
            ("ffn_down", width, wide, 1.0),
        ] {
            matrix(format!("blk.{layer}.{part}.weight"), layer, rows, cols, gain);
        }
    }
    all.extend(vectors(shape));
    all
}

/// Norms and biases: always F32.
fn vectors(shape: &Shape) -> Vec<Tensor> {
    let vector = |name: String, length: usize, content: Content| Tensor {
        name,
        dtype: DType::F32,
        dims: vec![length],
        content,
    };
    let (queries, keys) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    let norm = Content::Around(OUTPUT_NORM);
    let mut all = vec![vector("output_norm.weight".to_owned(), shape.width, norm)];
    for layer in 0..shape.layers {
        let mut norm = |part: &str, length: usize, value: f32| {
            let name = format!("blk.{layer}.{part}.weight");
            all.push(vector(name, length, Content::Around(value)));
        };
        norm("attn_norm", shape.width, 1.0);
        norm("ffn_norm", shape.width, 1.0);
        if shape.has_head_norms() {
            norm("attn_q_norm", shape.head_dim, 2.0);
            norm("attn_k_norm", shape.head_dim, 1.0);
        }
        if shape.has_post_norms() {
            norm("post_attention_norm", shape.width, 1.0);
            norm("post_ffw_norm", shape.width, 1.0);
        }
        if shape.has_biases() {
            for (part, length) in [("attn_q", queries), ("attn_k", keys), ("attn_v", keys)] {
                let name = format!("blk.{layer}.{part}.bias");
                all.push(vector(name, length, Content::Spread(JITTER)));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests;
