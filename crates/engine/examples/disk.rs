//! How long a prompt takes anew, and when its keys and values are on disk: `cargo run --release -p
//! lucid-engine --example disk -- MODEL FOLDER [TOKENS [THREADS]]`. What it finds in the folder it
//! reads, what it does not find it computes and writes there, so the second run shows what the
//! first one saves. Figures for LOG.md, never an assertion.
#![allow(clippy::print_stdout, reason = "a program for a person")]
#![allow(clippy::unwrap_used, reason = "a measurement that fails may panic")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use lucid_checkpoint::Checkpoint;
use lucid_engine::{
    ClientId, DiskOptions, Engine, EngineOptions, Feed, KvDType, Level, Packing, Scope, Wanted,
    kv_blocks_for,
};
use lucid_sys::ThreadPool;

/// Tokens of a pass, as a scheduler takes them where nobody else is answered.
const PASS: usize = 512;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or_else(|| format!("{what} is missing"));
    let (model, folder) = (next("MODEL").unwrap(), next("FOLDER").unwrap());
    let number = |text: Result<String, String>| text.ok().and_then(|text| text.parse().ok());
    let (tokens, threads) = (number(next("")).unwrap_or(4096), number(next("")).unwrap_or(2));

    let checkpoint = Checkpoint::open(&PathBuf::from(model)).unwrap();
    let options = EngineOptions {
        context: tokens + 1,
        kv_blocks: kv_blocks_for(tokens + 1),
        kv_dtype: KvDType::F16,
        level: Level::detect(),
        packing: Packing::Pack,
    };
    let mut engine =
        Engine::load(&checkpoint, Arc::new(ThreadPool::new(threads)), options).unwrap();
    // Only the prompt is to be measured.
    engine.pack(None, &mut |_, _| {}).unwrap();
    let began = Instant::now();
    let key = *b"not a secret: for measuring only";
    let options = DiskOptions { folder: folder.into(), bytes_max: DiskOptions::BYTES_MAX, key };
    engine.open_disk(options).unwrap();
    println!("opening the folder: {:.4} s", began.elapsed().as_secs_f64());

    let vocab_size = engine.config().vocab_size;
    let prompt: Vec<u32> =
        (0..tokens).map(|place| (place * 7919 % vocab_size.min(30_000)) as u32).collect();
    let scope = Scope::new(ClientId(1), b"");
    let began = Instant::now();
    let sequence = engine.adopt(&scope, &prompt);
    let known = engine.tokens(sequence).unwrap().len();
    println!("{known} of {tokens} tokens read: {:.3} s", began.elapsed().as_secs_f64());
    let (mut slowest, mut published) = (0.0f64, 0.0);
    for part in prompt[known..].chunks(PASS) {
        let feed = Feed { sequence, tokens: part, wanted: Wanted::Last };
        engine.forward(&[feed]).unwrap();
        let publishing = Instant::now();
        engine.publish(sequence, &scope).unwrap();
        let took = publishing.elapsed().as_secs_f64();
        (slowest, published) = (slowest.max(took), published + took);
    }
    println!("first logits after {:.3} s", began.elapsed().as_secs_f64());
    println!("of it handing blocks to the disk {published:.3} s, {slowest:.4} s at most");
    let began = Instant::now();
    engine.flush_disk();
    println!("until all is written: {:.3} s; {:?}", began.elapsed().as_secs_f64(), {
        engine.disk_stats()
    });
}
