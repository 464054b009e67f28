//! Checkpoints of a run, each a folder: `model.gguf` (the weights as f32, which `lucid run` takes
//! as they are), `optimiser.gguf`, and `checkpoint.json`, written last, with the lengths and
//! checksums of the other two. A folder without a whole `checkpoint.json` is none, so a run that is
//! killed while it writes one goes on from the one before.

use std::borrow::Cow;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use lucid_checkpoint::{Checkpoint, CheckpointError, GgufWriter};
use lucid_tensor::{DType, Metadata, TensorView, WeightSource, dequantize_row};
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::data::Position;
use crate::group::MESSAGE;
use crate::guard::Guard;
use crate::optimiser::Held;
use crate::plan::Plan;
use crate::trainer::{Progress, Setup, Trainer};

/// The version of `checkpoint.json`.
const VERSION: u32 = 1;

const DESCRIPTION: &str = "checkpoint.json";
const MODEL: &str = "model.gguf";
const OPTIMISER: &str = "optimiser.gguf";

/// What `checkpoint.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Description {
    version: u32,
    step: u64,
    updates: u64,
    plan: Plan,
    position: Position,
    guard: Guard,
    model: Sum,
    optimiser: Sum,
}

/// A file's length and checksum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sum {
    bytes: u64,
    blake3: String,
}

/// A whole checkpoint on disk, checked.
#[derive(Clone, Debug)]
pub struct Saved {
    folder: PathBuf,
    description: Description,
}

impl Saved {
    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its weights, which `lucid run` takes.
    pub fn model(&self) -> PathBuf {
        self.folder.join(MODEL)
    }

    /// The run's plan as it then was.
    pub fn plan(&self) -> &Plan {
        &self.description.plan
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.description.step
    }

    /// Reads a checkpoint's description and checks its files against it.
    ///
    /// # Errors
    /// `Damaged`: what is missing, of another length or of another content.
    pub fn open(folder: &Path) -> Result<Self, TrainError> {
        let file = folder.join(DESCRIPTION);
        let text =
            fs::read(&file).map_err(|source| TrainError::io("cannot read", &file, source))?;
        let description: Description = serde_json::from_slice(&text)
            .map_err(|error| TrainError::damaged(&file, error.to_string()))?;
        if description.version != VERSION {
            let what = format!("version {}, which this program does not read", description.version);
            return Err(TrainError::damaged(&file, what));
        }
        for (name, sum) in [(MODEL, &description.model), (OPTIMISER, &description.optimiser)] {
            let file = folder.join(name);
            let found = sum_of(&file)?;
            if found != *sum {
                let what = if found.bytes == sum.bytes {
                    "its content is not what was written".to_owned()
                } else {
                    format!("it has {} bytes, {} were written", found.bytes, sum.bytes)
                };
                return Err(TrainError::damaged(&file, what));
            }
        }
        Ok(Self { folder: folder.to_owned(), description })
    }

    /// The newest whole checkpoint in a run's folder of checkpoints, and what is wrong with newer
    /// ones.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn newest(folder: &Path) -> Result<(Option<Self>, Vec<TrainError>), TrainError> {
        let mut wrong = Vec::new();
        for (_, path) in list(folder)?.into_iter().rev() {
            // One that was never finished is not damage.
            if !path.join(DESCRIPTION).exists() {
                continue;
            }
            match Self::open(&path) {
                Ok(saved) => return Ok((Some(saved), wrong)),
                Err(error) => wrong.push(error),
            }
        }
        Ok((None, wrong))
    }

    /// The run as it was, to go on bit for bit.
    ///
    /// # Errors
    /// The files are not what this run needs, or the data are others.
    pub fn resume(&self, setup: Setup) -> Result<Trainer, TrainError> {
        let weights = Checkpoint::open(&self.model())?;
        let mut trainer = Trainer::over(self.description.plan.clone(), setup, &weights)?;
        let averages = Checkpoint::open(&self.folder.join(OPTIMISER))?;
        trainer.restore(&self.progress(), |held| fill(&averages, held))?;
        Ok(trainer)
    }

    /// Takes a run that has gone wrong back to these weights; it keeps its place in the data.
    ///
    /// # Errors
    /// As for `resume`.
    pub fn roll_back(&self, trainer: &mut Trainer) -> Result<(), TrainError> {
        let weights = Checkpoint::open(&self.model())?;
        let averages = Checkpoint::open(&self.folder.join(OPTIMISER))?;
        trainer.roll_back(&weights, &self.progress(), |held| fill(&averages, held))
    }

    fn progress(&self) -> Progress {
        let Description { step, updates, ref position, guard, .. } = self.description;
        Progress { step, updates, position: position.clone(), guard }
    }
}

fn fill(averages: &Checkpoint, held: Held<&mut [f32]>) -> Result<(), TrainError> {
    let Held { name, len, start, values, .. } = held;
    let view = averages.tensor(&name).ok_or_else(|| TrainError::missing(&name))?;
    read_floats(&name, &view, start, len, values)
}

/// Copies numbers of a tensor of `len`, from `start` on.
pub(crate) fn read_floats(
    name: &str,
    view: &TensorView,
    start: usize,
    len: usize,
    values: &mut [f32],
) -> Result<(), TrainError> {
    if view.dtype != DType::F32 || view.element_count() != len {
        return Err(TrainError::Tensor {
            name: name.to_owned(),
            found: format!("{} numbers as {}", view.element_count(), view.dtype),
            expected: format!("{len} as F32"),
        });
    }
    let bytes = &view.data[size_of::<f32>() * start..][..size_of_val(values)];
    dequantize_row(lucid_kernels::Level::detect(), DType::F32, bytes, values);
    Ok(())
}

/// Writes a run's state into a new folder of `folder`, and removes all but the newest `kept` whole
/// checkpoints before it. `vocabulary` is the tokenizer's part of GGUF's metadata. All ranks call
/// this at once; rank 0 writes.
///
/// # Errors
/// The system refuses, for want of space say. Checkpoints that were there stay.
pub fn save(
    trainer: &Trainer,
    folder: &Path,
    vocabulary: &Metadata,
    kept: usize,
) -> Result<Saved, TrainError> {
    let group = trainer.group();
    let step = trainer.steps_done();
    let own = folder.join(format!("step-{step:08}"));
    let description = own.join(DESCRIPTION);
    let mut text = Vec::new();
    if group.rank() == 0 {
        text = write_files(trainer, &own, &description, vocabulary)?;
        remove_old(folder, step, kept);
    } else {
        hand_over_optimiser(trainer);
    }
    group.broadcast(&mut text);
    // Read back even by who wrote it: all ranks then have the same.
    let content = serde_json::from_slice(&text)
        .map_err(|error| TrainError::damaged(&description, error.to_string()))?;
    Ok(Saved { folder: own, description: content })
}

/// Writes the files of a checkpoint. The text of its description.
fn write_files(
    trainer: &Trainer,
    own: &Path,
    description: &Path,
    vocabulary: &Metadata,
) -> Result<Vec<u8>, TrainError> {
    let progress = trainer.progress();
    fs::create_dir_all(own).map_err(|source| TrainError::io("cannot make", own, source))?;
    // Whatever was there is no checkpoint while it is written anew.
    match fs::remove_file(description) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(TrainError::io("cannot replace", description, source));
        }
        _ => {}
    }
    // Where space was wanting, half a checkpoint should not take more of it.
    let tidy = |_: &TrainError| drop(fs::remove_dir_all(own));
    let model = write_model(trainer, vocabulary, &own.join(MODEL)).inspect_err(tidy)?;
    let optimiser = write_optimiser(trainer, &own.join(OPTIMISER)).inspect_err(tidy)?;
    let content = Description {
        version: VERSION,
        step: progress.step,
        updates: progress.updates,
        plan: trainer.plan().clone(),
        position: progress.position,
        guard: progress.guard,
        model,
        optimiser,
    };
    let text = serde_json::to_vec_pretty(&content)
        .map_err(|error| TrainError::io("cannot write", description, error.into()))?;
    lucid_sys::write_atomic(description, |out| out.write_all(&text))
        .map_err(|source| TrainError::io("cannot write", description, source))
        .inspect_err(tidy)?;
    Ok(text)
}

/// Weights and metadata as one GGUF file of f32.
fn write_model(trainer: &Trainer, vocabulary: &Metadata, file: &Path) -> Result<Sum, TrainError> {
    let mut writer = GgufWriter::new();
    for (key, value) in trainer.metadata().iter().chain(vocabulary.iter()) {
        writer.metadata(key, value.clone());
    }
    writer.metadata("general.file_type", lucid_tensor::MetaValue::Unsigned(0));
    let parameters = trainer.parameters();
    let mut tensors = Vec::new();
    for id in parameters.ids() {
        writer.tensor(parameters.name(id), DType::F32, parameters.shape(id))?;
        tensors.push(Cow::Borrowed(parameters.values(id)));
    }
    for view in trainer.extras() {
        let values = floats(view)?;
        writer.tensor(view.name.clone(), DType::F32, &view.shape)?;
        tensors.push(Cow::Owned(values));
    }
    write(&writer, &mut |number, put| put(&tensors[number]), file)
}

/// The numbers of a tensor of any format.
fn floats(view: &TensorView) -> Result<Vec<f32>, TrainError> {
    let count = view.element_count();
    if view.dtype.row_bytes(count) != Some(view.data.len()) {
        return Err(TrainError::Tensor {
            name: view.name.clone(),
            found: format!("{} bytes", view.data.len()),
            expected: format!("{count} numbers as {}", view.dtype),
        });
    }
    let mut values = vec![0.0; count];
    dequantize_row(lucid_kernels::Level::detect(), view.dtype, &view.data, &mut values);
    Ok(values)
}

fn write_optimiser(trainer: &Trainer, file: &Path) -> Result<Sum, TrainError> {
    let mut writer = GgufWriter::new();
    let parameters = trainer.parameters();
    let optimiser = trainer.optimiser();
    let all: Vec<_> = optimiser.tensors(&parameters).collect();
    for held in &all {
        writer.tensor(held.name.clone(), DType::F32, &[held.len])?;
    }
    let architecture = lucid_tensor::MetaValue::Text("lucid.optimiser".to_owned());
    writer.metadata("general.architecture", architecture);
    let group = trainer.group();
    let mut part = vec![0.0; MESSAGE];
    let mut tensor = |number: usize, put: &mut Put<'_>| {
        let held = &all[number];
        put(held.values)?;
        for rank in 1..group.ranks() {
            let mut left = optimiser.parts().range(held.parameter, rank).len();
            while left > 0 {
                let part = &mut part[..left.min(MESSAGE)];
                group.hand_over(rank, part);
                put(part)?;
                left -= part.len();
            }
        }
        Ok(())
    };
    write(&writer, &mut tensor, file)
}

/// The other side of `write_optimiser`.
fn hand_over_optimiser(trainer: &Trainer) {
    let group = trainer.group();
    for held in trainer.optimiser().tensors(&trainer.parameters()) {
        for part in held.values.chunks(MESSAGE) {
            group.hand_over(group.rank(), &mut part.to_vec());
        }
    }
}

/// Takes the next numbers of a tensor.
pub(crate) type Put<'a> = dyn FnMut(&[f32]) -> io::Result<()> + 'a;

/// Writes a file; `tensor` puts the numbers of each tensor, one after the other.
pub(crate) fn write(
    writer: &GgufWriter,
    tensor: &mut dyn FnMut(usize, &mut Put<'_>) -> io::Result<()>,
    file: &Path,
) -> Result<Sum, TrainError> {
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0;
    let written = lucid_sys::write_atomic(file, |out| {
        let mut out = Hashed { out, hasher: &mut hasher, bytes: &mut bytes };
        let mut buffer = Vec::new();
        let mut data = |number: usize, out: &mut dyn Write| {
            tensor(number, &mut |values| {
                for part in values.chunks(1 << 14) {
                    buffer.clear();
                    buffer.extend(part.iter().flat_map(|value| value.to_le_bytes()));
                    out.write_all(&buffer)?;
                }
                Ok(())
            })
        };
        writer.write(&mut out, &mut data).map(|_| ()).map_err(|error| match error {
            CheckpointError::Write(source) => source,
            other => io::Error::other(other),
        })
    });
    written.map_err(|source| TrainError::io("cannot write", file, source))?;
    Ok(Sum { bytes, blake3: hasher.finalize().to_hex().to_string() })
}

/// Counts and sums what passes.
struct Hashed<'a> {
    out: &'a mut dyn Write,
    hasher: &'a mut blake3::Hasher,
    bytes: &'a mut u64,
}

impl Write for Hashed<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.out.write(buffer)?;
        self.hasher.update(&buffer[..count]);
        *self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn sum_of(file: &Path) -> Result<Sum, TrainError> {
    let error = |source| TrainError::io("cannot read", file, source);
    let mut hasher = blake3::Hasher::new();
    let bytes = io::copy(&mut fs::File::open(file).map_err(error)?, &mut hasher).map_err(error)?;
    Ok(Sum { bytes, blake3: hasher.finalize().to_hex().to_string() })
}

/// The folders of checkpoints by their steps, ascending.
fn list(folder: &Path) -> Result<Vec<(u64, PathBuf)>, TrainError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|source| TrainError::io("cannot list", folder, source))?,
    };
    let step = |path: &Path| path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok();
    let mut found: Vec<(u64, PathBuf)> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter_map(|path| Some((step(&path)?, path)))
        .collect();
    found.sort();
    Ok(found)
}

/// Removes what is older than the newest `kept` whole ones before `step`, and what was never
/// finished. What cannot be removed stays: it only takes space.
fn remove_old(folder: &Path, step: u64, kept: usize) {
    let Ok(found) = list(folder) else { return };
    let older = found.into_iter().filter(|(other, _)| *other < step).rev();
    let (whole, half): (Vec<_>, Vec<_>) =
        older.partition(|(_, path)| path.join(DESCRIPTION).exists());
    for (_, path) in whole.into_iter().skip(kept).chain(half) {
        // Its description first: half a checkpoint must not look like a whole one.
        let _ = fs::remove_file(path.join(DESCRIPTION));
        let _ = fs::remove_dir_all(&path);
    }
}
