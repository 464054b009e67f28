//! Loss and all gradients of a model of Llama's shape, with grouped heads and two documents,
//! against PyTorch in f32 (`llama.py`). Skipped, with a word about it, where Python or torch is
//! missing; `LUCID_PYTHON` names an interpreter that has it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lucid_tensor::{DType, Products};

use crate::source::{Batch, Head, Model, SMALL, Size};
use crate::{Trained, options};

/// Of the largest of a parameter's gradients.
const TOLERANCE: f32 = 1e-4;

/// An interpreter that has torch.
fn python() -> Option<OsString> {
    let python = env::var_os("LUCID_PYTHON").unwrap_or_else(|| "python3".into());
    let found = Command::new(&python).args(["-c", "import numpy, torch"]).output();
    found.is_ok_and(|output| output.status.success()).then_some(python)
}

/// A folder that goes when the test ends.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn numbers<T>(values: impl IntoIterator<Item = T>, bytes: impl Fn(T) -> [u8; 4]) -> Vec<u8> {
    values.into_iter().flat_map(bytes).collect()
}

/// What the script reads: a line of sizes, a line for each parameter, and three files of numbers.
fn write(folder: &Path, size: Size, trained: &Trained, batch: &Batch) {
    let Size { layers, heads, kv_heads, head_dim, .. } = size;
    let mut description = format!("{layers} {heads} {kv_heads} {head_dim} {}\n", batch.rows.len());
    let parameters = trained.tape.parameters();
    let mut values = Vec::new();
    for id in parameters.ids() {
        let shape: Vec<_> = parameters.shape(id).iter().map(usize::to_string).collect();
        description.extend([parameters.name(id), " ", &shape.join(" "), "\n"]);
        values.extend(numbers(parameters.values(id), |x| x.to_le_bytes()));
    }
    let columns = batch
        .rows
        .iter()
        .zip(&batch.targets)
        .flat_map(|(row, target)| [row.token, row.position, row.sequence, *target]);
    let rows = numbers(columns, u32::to_le_bytes);
    let weights = numbers(&batch.weights, |x| x.to_le_bytes());
    for (name, bytes) in [
        ("description.txt", description.into_bytes()),
        ("parameters.f32", values),
        ("rows.u32", rows),
        ("weights.f32", weights),
    ] {
        fs::write(folder.join(name), bytes).expect("a folder of ours");
    }
}

fn read(path: &Path) -> Vec<f32> {
    let bytes = fs::read(path).expect("what the script wrote");
    bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect()
}

#[test]
fn loss_and_gradients_are_those_of_pytorch() {
    let Some(python) = python() else {
        println!("skipped: no Python with numpy and torch (LUCID_PYTHON names one)");
        return;
    };
    let size = Size { width: 64, layers: 3, feed_forward: 176, ..SMALL };
    let model = Model::new("llama", size, Head::Own, DType::F32);
    let mut trained = Trained::new(&model, options(Products::F32));
    let batch = Batch::new(size.vocabulary, &[80, 23]);
    let loss = trained.train(&batch) as f32;

    let name = format!("lucid-training-{}", std::process::id());
    let folder = Folder(env::temp_dir().join(name));
    fs::create_dir_all(&folder.0).expect("a temporary folder");
    write(&folder.0, size, &trained, &batch);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/training/llama.py");
    let output = Command::new(python).arg("-B").arg(script).arg(&folder.0).output();
    let output = output.expect("the interpreter runs, as it did before");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let mut wanted = &read(&folder.0.join("result.f32"))[..];
    let (want, rest) = wanted.split_first().expect("the loss comes first");
    assert!((loss - want).abs() <= TOLERANCE * want, "loss {loss}, {want} by torch");
    wanted = rest;
    let mut worst = 0.0f32;
    for id in trained.ids() {
        let found = trained.tape.gradients(id);
        let (want, rest) = wanted.split_at(found.len());
        wanted = rest;
        let largest = want.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        let errors = found.iter().zip(want).map(|(found, want)| (found - want).abs());
        let error = errors.fold(0.0f32, f32::max) / largest;
        let name = trained.tape.parameters().name(id).to_owned();
        assert!(error <= TOLERANCE, "{name}: a gradient differs by {error} of the largest");
        worst = worst.max(error);
    }
    assert!(wanted.is_empty(), "{} numbers more than gradients", wanted.len());
    println!("loss {loss}; gradients differ by {worst} of each parameter's largest at most");
}
