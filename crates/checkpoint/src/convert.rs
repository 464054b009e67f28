//! Writes any checkpoint as one GGUF file that llama.cpp loads. Source of the choices (which
//! tensors stay f32, the order of query and key rows, the numbers of file types): llama.cpp's
//! `convert_hf_to_gguf.py`.
//!
//! Tensors are streamed row by row, so the memory needed is that of one row.

use crate::cursor::brief;
use crate::{Checkpoint, CheckpointError, GgufWriter};
use lucid_tensor::{
    DType, Level, MetaValue, Metadata, MetadataError, TensorView, WeightSource, dequantize_row,
    quantize_row,
};
use std::io::{self, Write};
use std::path::Path;

/// Bytes that are copied between two reports of progress.
const CHUNK_BYTES: usize = 1 << 20;
/// The formats that can be written, with llama.cpp's numbers of the files that mostly hold them
/// (`llama_ftype`).
const TARGETS: [(DType, u64); 6] = [
    (DType::F32, 0),
    (DType::F16, 1),
    (DType::Q4_0, 2),
    (DType::Q8_0, 7),
    (DType::Q4_K, 14),
    (DType::BF16, 32),
];
/// Keys that hold for the source's files and not for the new one.
const KEYS_DROPPED: [&str; 5] =
    ["general.alignment", "general.file_type", "general.quantization_version", "lucid.", "split."];

/// Writes `source` to `out`, replacing it only when complete.
///
/// `vocabulary` holds the `tokenizer.*` keys; keys of the source with the same names give way.
/// Matrices are written as `dtype`, or as they are without one; vectors always as F32, and matrices
/// whose rows are no whole blocks as Q8_0, or else as F16. `progress` is told the bytes written so
/// far and altogether.
///
/// # Errors
/// `dtype` cannot be written, the head counts do not fit the tensors, or the system refuses.
pub fn convert(
    source: &Checkpoint,
    vocabulary: &Metadata,
    dtype: Option<DType>,
    out: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), CheckpointError> {
    if let Some(dtype) = dtype
        && TARGETS.iter().all(|target| target.0 != dtype)
    {
        return Err(CheckpointError::Unwritable {
            tensor: "every matrix".to_owned(),
            expected: TARGETS.map(|target| target.0.name()).join(", "),
            found: dtype.name().to_owned(),
        });
    }
    let plans = plan(source, dtype)?;
    let mut writer = GgufWriter::new();
    write_metadata(source, vocabulary, &plans, &mut writer);
    for plan in &plans {
        writer.tensor(&plan.view.name, plan.target, &plan.view.shape)?;
    }
    let total = writer.layout()?.total;
    let mut done = 0;
    let written = lucid_sys::write_atomic(out, |file| {
        let mut write = |number: usize, out: &mut dyn Write| {
            let mut report = |bytes: usize| {
                done += bytes as u64;
                progress(done, total);
            };
            plans[number].write(out, &mut report)
        };
        writer.write(file, &mut write).map(|_| ()).map_err(|error| match error {
            CheckpointError::Write(source) => source,
            other => io::Error::other(other),
        })
    });
    written.map_err(|source| CheckpointError::Io {
        file: out.to_owned(),
        action: "cannot write",
        source,
    })?;
    progress(total, total);
    Ok(())
}

/// How one tensor is written.
struct Plan {
    view: TensorView,
    target: DType,
    /// Of a query or key whose rows pair halves: the number of heads.
    heads: Option<usize>,
}

fn plan(source: &Checkpoint, dtype: Option<DType>) -> Result<Vec<Plan>, CheckpointError> {
    let file = || source.files()[0].clone();
    let metadata = source.metadata();
    let wrong = |source: MetadataError| CheckpointError::Metadata { file: file(), source };
    let architecture = metadata.text("general.architecture").map_err(wrong)?;
    let pairing = metadata.text("lucid.rope.pairing").map_err(wrong)?;
    // llama.cpp rotates neighbours in this architecture alone.
    let reorders = architecture == Some("llama") && pairing == Some("halves");
    let mut plans = Vec::new();
    for name in source.tensor_names() {
        let Some(view) = source.tensor(&name) else { unreachable!("it is in the list") };
        let key = match name.rsplit('.').nth(1) {
            Some("attn_q") if reorders => Some("llama.attention.head_count"),
            Some("attn_k") if reorders => Some("llama.attention.head_count_kv"),
            _ => None,
        };
        let mut heads = None;
        if let Some(key) = key {
            let count = metadata.unsigned(key).map_err(wrong)?.unwrap_or(0) as usize;
            if count == 0 || !view.shape[0].is_multiple_of(count.saturating_mul(2)) {
                return Err(CheckpointError::Malformed {
                    file: file(),
                    item: format!("the tensor `{}`", brief(&name)),
                    offset: view.offset,
                    expected: format!("rows for {count} heads of an even length (`{key}`)"),
                    found: format!("{} rows", view.shape[0]),
                });
            }
            heads = Some(count);
        }
        let target = target(&view, dtype);
        plans.push(Plan { view, target, heads });
    }
    Ok(plans)
}

fn target(view: &TensorView, dtype: Option<DType>) -> DType {
    let [.., cols] = view.shape[..] else { return view.dtype };
    match dtype {
        _ if view.shape.len() == 1 => DType::F32,
        None => view.dtype,
        Some(dtype) => {
            let whole = |dtype: &DType| dtype.row_bytes(cols).is_some();
            [dtype, DType::Q8_0].into_iter().find(whole).unwrap_or(DType::F16)
        }
    }
}

fn write_metadata(
    source: &Checkpoint,
    vocabulary: &Metadata,
    plans: &[Plan],
    writer: &mut GgufWriter,
) {
    for (key, value) in source.metadata().iter() {
        if !KEYS_DROPPED.iter().any(|dropped| key.starts_with(dropped)) {
            writer.metadata(key, value.clone());
        }
    }
    for (key, value) in vocabulary.iter() {
        writer.metadata(key, value.clone());
    }
    // The format that most of the weights have.
    let weights_of = |dtype: DType| -> usize {
        let of_it = plans.iter().filter(|plan| plan.target == dtype);
        of_it.map(|plan| plan.view.element_count()).sum()
    };
    if let Some(target) = TARGETS.iter().max_by_key(|target| weights_of(target.0))
        && weights_of(target.0) > 0
    {
        writer.metadata("general.file_type", MetaValue::Unsigned(target.1));
    }
    if plans.iter().any(|plan| plan.target.block_len() > 1) {
        writer.metadata("general.quantization_version", MetaValue::Unsigned(2));
    }
}

impl Plan {
    fn write(&self, out: &mut dyn Write, report: &mut dyn FnMut(usize)) -> io::Result<()> {
        if self.heads.is_none() && self.target == self.view.dtype {
            for chunk in self.view.data.chunks(CHUNK_BYTES) {
                out.write_all(chunk)?;
                report(chunk.len());
            }
            return Ok(());
        }
        let row_len = self.row_len();
        let count = self.view.element_count() / row_len;
        let (source, target) = (self.view.dtype, self.target);
        let sizes = source.row_bytes(row_len).zip(target.row_bytes(row_len));
        let Some((source_bytes, target_bytes)) = sizes else { unreachable!("rows are whole") };
        let level = Level::detect();
        let mut values = vec![0.0f32; row_len];
        let mut encoded = vec![0u8; target_bytes];
        for row in 0..count {
            let from = self.source_row(row, count) * source_bytes;
            let data = &self.view.data[from..from + source_bytes];
            if source == target {
                out.write_all(data)?;
            } else {
                dequantize_row(level, source, data, &mut values);
                quantize_row(target, &values, &mut encoded).map_err(io::Error::other)?;
                out.write_all(&encoded)?;
            }
            report(target_bytes);
        }
        Ok(())
    }

    /// Elements that are moved together: a row of a matrix, one element of a bias that is
    /// reordered.
    fn row_len(&self) -> usize {
        match self.view.shape[..] {
            [_] if self.heads.is_some() => 1,
            [.., cols] => cols,
            [] => 1,
        }
    }

    /// The row of the source that becomes row `row`: heads that pair dimension i with i + half
    /// become heads that pair neighbours.
    fn source_row(&self, row: usize, count: usize) -> usize {
        let Some(heads) = self.heads else { return row };
        let head_len = count / heads;
        let (head, within) = (row / head_len, row % head_len);
        head * head_len + within % 2 * (head_len / 2) + within / 2
    }
}
