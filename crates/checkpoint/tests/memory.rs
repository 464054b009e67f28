//! Peak memory on files that claim as much as they can: under twice the file plus 16 MiB. One test
//! in a binary of its own, because the system counts the peak of the whole process. Files are
//! written piece by piece and mapped, so that the test itself takes nothing.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use common::{LLAMA_CONFIG, TempDir};
use lucid_checkpoint::Checkpoint;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Length of each file.
const FILE_BYTES: u64 = 24 << 20;

/// A file that starts with `head` and then repeats what `unit` makes of the running number.
fn write(folder: &Path, name: &str, head: &[u8], unit: &dyn Fn(u64) -> Vec<u8>) -> PathBuf {
    let path = folder.join(name);
    let mut out = BufWriter::new(File::create(&path).unwrap());
    out.write_all(head).unwrap();
    let count = count(head, unit);
    for number in 0..count {
        out.write_all(&unit(number)).unwrap();
    }
    out.flush().unwrap();
    path
}

/// How many units fill the file; all have the same length.
fn count(head: &[u8], unit: &dyn Fn(u64) -> Vec<u8>) -> u64 {
    (FILE_BYTES - head.len() as u64) / unit(0).len() as u64
}

fn header(tensors: u64, keys: u64) -> Vec<u8> {
    [&b"GGUF\x03\0\0\0"[..], &tensors.to_le_bytes(), &keys.to_le_bytes()].concat()
}

/// The head of a file whose only key is an array of this element type.
fn array(kind: u32, unit: &dyn Fn(u64) -> Vec<u8>) -> Vec<u8> {
    let mut head = header(0, 1);
    head.extend(1u64.to_le_bytes());
    head.push(b'a');
    head.extend(9u32.to_le_bytes());
    head.extend(kind.to_le_bytes());
    let at = head.len();
    head.extend([0; 8]);
    let count = count(&head, unit);
    head[at..].copy_from_slice(&count.to_le_bytes());
    head
}

type Unit<'a> = &'a dyn Fn(u64) -> Vec<u8>;

#[test]
fn peak_memory_is_bounded() {
    let Some(before) = lucid_sys::peak_resident_bytes() else {
        println!("skipped: this system does not tell a process's peak memory");
        return;
    };
    let folder = TempDir::new("memory");
    let check = |name: &str, head: &[u8], unit: Unit<'_>| {
        let path = write(folder.path(), name, head, unit);
        let outcome = Checkpoint::open(&path).map(|_| ()).map_err(|error| error.to_string());
        let peak = lucid_sys::peak_resident_bytes().unwrap() - before;
        println!("{name}: {} MiB, {outcome:?}", peak >> 20);
        // The pages of the mapped file count as well, and are not allocations.
        assert!(peak < 3 * FILE_BYTES + (16 << 20), "{name}: {peak} bytes");
        std::fs::remove_file(path).unwrap();
        outcome
    };
    let text = |text: &'static [u8]| move |_| [&(text.len() as u64).to_le_bytes(), text].concat();
    let (empty, one) = (text(b""), text(b"x"));
    let small: Unit<'_> = &|_| vec![1];
    // Texts and numbers stay in the file.
    assert!(check("texts", &array(8, &empty), &empty).is_ok());
    assert!(check("short texts", &array(8, &one), &one).is_ok());
    assert!(check("bytes", &array(0, small), small).is_ok());
    assert!(check("bools", &array(7, small), small).is_ok());
    let numbers: Unit<'_> = &|_| vec![1; 8];
    assert!(check("numbers", &array(10, numbers), numbers).is_ok());

    let key: Unit<'_> = &|number| {
        let name = format!("{number:07x}");
        [&7u64.to_le_bytes(), name.as_bytes(), &7u32.to_le_bytes(), &[1]].concat()
    };
    assert!(check("keys", &header(0, count(&header(0, 0), key)), key).is_err());
    let tensor: Unit<'_> = &|number| {
        let name = format!("{number:07x}");
        let rest = [1u64.to_le_bytes(), (32 * number).to_le_bytes()];
        let head = [&7u64.to_le_bytes(), name.as_bytes(), &1u32.to_le_bytes()].concat();
        [&head, &rest[0][..], &0u32.to_le_bytes(), &rest[1]].concat()
    };
    assert!(check("tensors", &header(count(&header(0, 0), tensor), 0), tensor).is_err());

    // Layers of nine elements: as many as there are file for, with no room left behind them.
    let layer: Unit<'_> = &|_| vec![0; 36];
    // The header, one embedding, one final norm.
    let layers = count(&[0; 36], layer) as i32;
    let head = [1, 1, layers, 1, 1, 1, 1, 0, 0].map(i32::to_le_bytes).concat();
    let error = check("layers.bin", &head, layer).unwrap_err();
    assert!(error.contains("n_layers at byte 8"), "{error}");

    std::fs::write(folder.path().join("config.json"), LLAMA_CONFIG).unwrap();
    let member: Unit<'_> = &|number| {
        let name = format!("model.layers.{}.input_layernorm.weight", 1_000_000 + number);
        let entry = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
        format!(r#"{}"{name}":{entry}"#, if number == 0 { '{' } else { ',' }).into_bytes()
    };
    let head = (FILE_BYTES - 100).to_le_bytes();
    assert!(check("a.safetensors", &head, member).is_err());
    let nested: Unit<'_> =
        &|number| if number == 0 { b"{\"a\":[[[".to_vec() } else { b"[[[[[[[[".to_vec() };
    assert!(check("b.safetensors", &head, nested).is_err());
}
