//! What a second engine over the same folder finds.

use std::fs;

use lucid_engine::{ClientId, KvDType, Level, Packing, Scope};
use lucid_tensor::DType;

use crate::fixture::{
    PROMPT, Scratch, Setup, answer, engine, files, golden, options, prompt, reopened, scope,
    write_model,
};

/// The known tokens and the logits, before and after a restart, are those of an engine alone.
fn check(setup: Setup) {
    let name = format!("restart-{}-{:?}", setup.kv_dtype.name(), setup.packing);
    let scratch = Scratch::new(&name);
    let model = scratch.0.join("model.gguf");
    write_model(&model);
    let text = prompt(1, PROMPT);
    let (_, expected) = answer(&mut engine(&model, setup), &scope(1), &text);
    for known in [0, 128, 128] {
        let mut engine = engine(&model, setup);
        engine.open_disk(options(&scratch.0)).unwrap();
        assert_eq!(answer(&mut engine, &scope(1), &text), (known, expected.clone()), "{setup:?}");
        engine.flush_disk();
        assert_eq!(engine.tokens_on_disk(&scope(1), &text), 128);
        let stats = engine.disk_stats();
        let moved = (stats.written, stats.read, stats.dropped, stats.damaged);
        assert_eq!(moved, if known == 0 { (2, 0, 0, 0) } else { (0, 2, 0, 0) }, "{setup:?}");
    }
}

#[test]
fn a_conversation_goes_on_after_a_restart_to_the_same_bits() {
    for kv_dtype in [KvDType::F32, KvDType::F16, KvDType::Q8_0] {
        check(Setup { kv_dtype, ..Setup::default() });
    }
    if lucid_kernels::packed_kernel(Level::detect(), DType::Q8_0) {
        check(Setup { packing: Packing::Pack, ..Setup::default() });
    } else {
        println!("skipped: this processor has no fast packed kernel");
    }
}

#[test]
fn the_longest_beginning_is_found_in_memory_and_then_on_disk() {
    let scratch = Scratch::new("longest");
    let text = prompt(1, 12 * 64 + 9);
    let (_, expected) = answer(&mut reopened(&scratch.0), &scope(1), &text);
    let mut engine = reopened(&scratch.0);
    assert_eq!(answer(&mut engine, &scope(1), &text[..200]).0, 192);
    assert_eq!(engine.disk_stats().read, 3);
    assert_eq!(answer(&mut engine, &scope(1), &text), (12 * 64, expected));
    assert_eq!(engine.disk_stats().read, 12);
    let mut other = text.clone();
    other[5 * 64 + 3] ^= 1;
    assert_eq!(answer(&mut reopened(&scratch.0), &scope(1), &other).0, 5 * 64);
    // The last token is computed in any case.
    assert_eq!(answer(&mut reopened(&scratch.0), &scope(1), &text[..128]).0, 64);
}

#[test]
fn nobody_else_finds_it() {
    let scratch = Scratch::new("scopes");
    let text = prompt(1, PROMPT);
    answer(&mut reopened(&scratch.0), &scope(1), &text);
    let mut engine = reopened(&scratch.0);
    for stranger in [scope(2), scope(0), Scope::new(ClientId(1), b"adapter")] {
        assert_eq!(engine.tokens_on_disk(&stranger, &text), 0);
        assert_eq!(answer(&mut engine, &stranger, &text).0, 0, "{stranger:?}");
    }
    assert_eq!(answer(&mut engine, &scope(1), &text).0, 128);
    drop(engine);
    let mut other = crate::fixture::engine(&golden(), Setup::default());
    let options = options(&scratch.0);
    other.open_disk(lucid_engine::DiskOptions { key: [8; 32], ..options }).unwrap();
    assert_eq!(answer(&mut other, &scope(1), &text).0, 0);
}

/// Weights, level, packing and formats each have blocks of their own.
#[test]
fn what_was_computed_otherwise_is_not_found() {
    let scratch = Scratch::new("weights");
    let model = scratch.0.join("model.gguf");
    write_model(&model);
    let text = prompt(1, PROMPT);
    let known = |setup: Setup| {
        let mut engine = engine(&model, setup);
        engine.open_disk(options(&scratch.0)).unwrap();
        answer(&mut engine, &scope(1), &text).0
    };
    let mut setups = vec![Setup::default()];
    setups.extend([KvDType::F32, KvDType::BF16].map(|kv_dtype| Setup { kv_dtype, ..setups[0] }));
    setups.push(Setup { packing: Packing::Pack, ..setups[0] });
    if setups[0].level != Level::Scalar {
        setups.push(Setup { level: Level::Scalar, ..setups[0] });
    }
    for expected in [0, 128] {
        for &setup in &setups {
            assert_eq!(known(setup), expected, "{setup:?}");
        }
    }
    assert_eq!(known(Setup { packing: Packing::InPassing, ..setups[0] }), 128);

    // The same content at another time, and as another file.
    let bytes = fs::read(&model).unwrap();
    fs::remove_file(&model).unwrap();
    fs::write(&model, &bytes).unwrap();
    // The weights have to be hashed first, which they are when the first block is written.
    known(setups[0]);
    assert_eq!(known(setups[0]), 128);
    assert_eq!(files(&scratch.0).len(), 2 * setups.len());

    // One weight changed.
    let view = {
        use lucid_tensor::WeightSource as _;
        lucid_checkpoint::Checkpoint::open(&model).unwrap().tensor("blk.0.attn_v.weight").unwrap()
    };
    let mut changed = bytes;
    changed[view.offset as usize + 10] ^= 0x40;
    fs::remove_file(&model).unwrap();
    fs::write(&model, &changed).unwrap();
    assert_eq!(known(setups[0]), 0);
}

/// What blocks hold is what it was when `ARITHMETIC_VERSION` was raised last. If this fails because
/// sums are meant to run otherwise now, raise it, and put the new hashes here.
#[test]
fn the_arithmetic_is_of_its_version() {
    let scratch = Scratch::new("arithmetic");
    let model = scratch.0.join("model.gguf");
    write_model(&model);
    let mut setups = vec![(Packing::Keep, EXACT)];
    if lucid_kernels::packed_kernel(Level::detect(), DType::Q8_0) {
        setups.push((Packing::InPassing, PACKED));
    }
    let found = setups.iter().map(|&(packing, _)| {
        let _ = fs::remove_dir_all(scratch.0.join("kv"));
        let setup = Setup { packing, kv_dtype: KvDType::F32, ..Setup::default() };
        let mut engine = engine(&model, setup);
        engine.open_disk(options(&scratch.0)).unwrap();
        answer(&mut engine, &scope(1), &prompt(1, 65));
        drop(engine);
        let file = fs::read(&files(&scratch.0)[0]).unwrap();
        let payload = &file[344..file.len() - 32];
        (packing, blake3::hash(payload).to_hex()[..16].to_owned())
    });
    let found: Vec<_> = found.collect();
    let expected: Vec<_> = setups.iter().map(|&(packing, hash)| (packing, hash.into())).collect();
    assert_eq!((lucid_tensor::ARITHMETIC_VERSION, found), (1, expected));
}

const EXACT: &str = "0c3fd6ce4546f84f";
const PACKED: &str = "7c77e0de347f8df1";
