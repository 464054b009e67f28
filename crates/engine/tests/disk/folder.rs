//! The folder: its bounds, its modes, who else uses it, and when it cannot be written.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use lucid_engine::{DiskOptions, Engine, EngineError};

use crate::fixture::{
    PROMPT, Scratch, Setup, answer, engine, files, golden, options, prompt, reopened, scope,
};

fn with_bytes_max(scratch: &Scratch, bytes_max: u64) -> Engine {
    let mut engine = engine(&golden(), Setup::default());
    engine.open_disk(DiskOptions { bytes_max, ..options(&scratch.0) }).unwrap();
    engine
}

/// Bytes that files of a folder take, counted in pages.
fn taken(scratch: &Scratch) -> u64 {
    let files = files(&scratch.0);
    files.iter().map(|path| fs::metadata(path).unwrap().len().next_multiple_of(4096)).sum()
}

#[test]
fn the_least_recently_used_blocks_are_given_up() {
    let scratch = Scratch::new("bytes-max");
    answer(&mut reopened(&scratch.0), &scope(1), &prompt(0, PROMPT));
    let block = taken(&scratch) / 2;
    let bytes_max = 10 * block;
    let mut engine = with_bytes_max(&scratch, bytes_max);
    for seed in 1..20 {
        // The first one is used again and again, by an engine that has to read it.
        let known = answer(&mut reopened(&scratch.0), &scope(1), &prompt(0, PROMPT)).0;
        assert_eq!(known, 128, "before prompt {seed}");
        for file in files(&scratch.0) {
            // An hour passes.
            let file = File::open(file).unwrap();
            let used = file.metadata().unwrap().modified().unwrap();
            file.set_modified(used - Duration::from_secs(3600)).unwrap();
        }
        answer(&mut engine, &scope(1), &prompt(seed, PROMPT));
        engine.flush_disk();
        assert!(taken(&scratch) <= bytes_max, "{} bytes", taken(&scratch));
        assert_eq!(engine.disk_stats().bytes, taken(&scratch));
    }
    let stats = engine.disk_stats();
    assert_eq!((stats.written, stats.dropped), (38, 0));
    assert_eq!(stats.evicted as usize, 40 - files(&scratch.0).len());
    drop(engine);
    let mut engine = reopened(&scratch.0);
    assert_eq!(engine.tokens_on_disk(&scope(1), &prompt(19, PROMPT)), 128);
    assert_eq!(engine.tokens_on_disk(&scope(1), &prompt(1, PROMPT)), 0);
    assert_eq!(answer(&mut engine, &scope(1), &prompt(0, PROMPT)).0, 128);
}

/// Of blocks that were used together the last one goes first.
#[test]
fn a_beginning_outlives_what_follows_it() {
    let scratch = Scratch::new("leaves");
    let text = prompt(0, 5 * 64 + 1);
    answer(&mut reopened(&scratch.0), &scope(1), &text);
    let bytes_max = taken(&scratch);
    let mut engine = with_bytes_max(&scratch, bytes_max);
    let left: Vec<usize> = (1..5)
        .map(|seed| {
            answer(&mut engine, &scope(1), &prompt(seed, 65));
            engine.flush_disk();
            engine.tokens_on_disk(&scope(1), &text) / 64
        })
        .collect();
    assert!(left.is_sorted_by(|a, b| a >= b) && left[0] < 5 && left[0] > 0, "{left:?}");
    let known = engine.disk_stats();
    assert_eq!(known.evicted as usize, 9 - files(&scratch.0).len());
}

#[test]
fn a_block_that_is_larger_than_all_is_not_kept() {
    let scratch = Scratch::new("too-large");
    let mut engine = with_bytes_max(&scratch, 5000);
    answer(&mut engine, &scope(1), &prompt(1, PROMPT));
    engine.flush_disk();
    let stats = engine.disk_stats();
    assert_eq!((stats.dropped, files(&scratch.0).len()), (2, 0));
    assert!(stats.trouble.unwrap().contains("no room"));
}

/// What is known in memory, and has gone from the folder, is there again after its next use.
#[test]
fn what_was_lost_is_written_again() {
    for how in ["removed", "evicted"] {
        let scratch = Scratch::new(how);
        let text = prompt(1, PROMPT);
        answer(&mut reopened(&scratch.0), &scope(1), &text);
        let bytes_max = 5 * taken(&scratch);
        let mut engine = with_bytes_max(&scratch, bytes_max);
        assert_eq!(answer(&mut engine, &scope(1), &text).0, 128);
        engine.flush_disk();
        if how == "removed" {
            for path in files(&scratch.0) {
                fs::remove_file(path).unwrap();
            }
        } else {
            for seed in 2..7 {
                answer(&mut engine, &scope(1), &prompt(seed, PROMPT));
                engine.flush_disk();
            }
        }
        assert_eq!(engine.tokens_on_disk(&scope(1), &text[..65]), 0, "{how}: nothing was lost");
        let continued = [text.clone(), prompt(9, 64)].concat();
        assert_eq!(answer(&mut engine, &scope(1), &continued).0, 128, "{how}");
        engine.flush_disk();
        drop(engine);
        assert_eq!(answer(&mut reopened(&scratch.0), &scope(1), &continued).0, 192, "{how}");
    }
}

#[test]
fn what_is_forgotten_is_gone() {
    let scratch = Scratch::new("forget");
    let text = prompt(1, PROMPT);
    let mut engine = reopened(&scratch.0);
    answer(&mut engine, &scope(1), &text);
    let strangers = scratch.0.join("kv/blocks/README");
    fs::create_dir_all(scratch.0.join("kv/blocks")).unwrap();
    fs::write(&strangers, "not a block").unwrap();
    engine.forget_published();
    assert_eq!(files(&scratch.0), [strangers]);
    assert_eq!(answer(&mut engine, &scope(1), &text).0, 0);
    engine.flush_disk();
    assert_eq!(engine.tokens_on_disk(&scope(1), &text), 128);
}

#[test]
#[cfg(unix)]
fn only_the_owner_may_open_them() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::new("modes");
    answer(&mut reopened(&scratch.0), &scope(1), &prompt(1, PROMPT));
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for file in files(&scratch.0) {
        assert_eq!(mode(&file), 0o600);
        let folders = file.ancestors().skip(1).take_while(|path| **path != scratch.0);
        for folder in folders {
            assert_eq!(mode(folder), 0o700, "{}", folder.display());
        }
        // Neither tokens nor anything else can be told from the name without the key.
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(name.len() == 62 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
    }
    let records = fs::read_dir(scratch.0.join("kv/weights")).unwrap();
    for record in records {
        assert_eq!(mode(&record.unwrap().path()), 0o600);
    }
}

/// Where nothing can be written, all is computed, and the statistics say why.
#[test]
fn a_folder_that_cannot_be_written_stops_nothing() {
    let scratch = Scratch::new("refused");
    let text = prompt(1, PROMPT);
    let (_, expected) = answer(&mut engine(&golden(), Setup::default()), &scope(1), &text);
    let mut engine = reopened(&scratch.0);
    // A file stands where the blocks' folder would be made.
    fs::write(scratch.0.join("kv/blocks"), "in the way").unwrap();
    for seed in [1, 2] {
        let (known, logits) = answer(&mut engine, &scope(1), &prompt(seed, PROMPT));
        assert_eq!(known, 0);
        assert!(seed != 1 || logits == expected);
        engine.flush_disk();
    }
    let stats = engine.disk_stats();
    assert_eq!((stats.written, stats.dropped), (0, 4));
    let trouble = stats.trouble.unwrap();
    assert!(trouble.contains("cannot write") && trouble.contains("kv/blocks"), "{trouble}");
    // And where not even the folder can be made, that is said at once.
    let nowhere = DiskOptions { folder: scratch.0.join("kv/blocks/kv"), ..options(&scratch.0) };
    let refused = engine.open_disk(nowhere).unwrap_err();
    assert!(matches!(refused, EngineError::Disk { .. }), "{refused}");
    assert_eq!(answer(&mut engine, &scope(1), &text), (0, expected));
}

/// Two that share a folder find each other's blocks, and nobody minds what the other removes.
#[test]
fn two_at_once() {
    let scratch = Scratch::new("two");
    answer(&mut reopened(&scratch.0), &scope(1), &prompt(0, PROMPT));
    let bytes_max = 3 * taken(&scratch);
    let expected: Vec<_> = {
        let mut alone = engine(&golden(), Setup::default());
        (0..6).map(|seed| answer(&mut alone, &scope(1), &prompt(seed, PROMPT)).1).collect()
    };
    let serve = |order: u64| {
        let expected = &expected;
        let scratch = &scratch;
        move || {
            let mut found = 0;
            for round in 0..8 {
                let mut engine = with_bytes_max(scratch, bytes_max);
                for step in 0..6 {
                    let seed = (step * order + round) % 6;
                    let (known, logits) = answer(&mut engine, &scope(1), &prompt(seed, PROMPT));
                    assert_eq!(logits, expected[seed as usize], "prompt {seed}");
                    found += known;
                }
                assert_eq!(engine.disk_stats().damaged, 0);
            }
            found
        }
    };
    let found = std::thread::scope(|threads| {
        let both = [threads.spawn(serve(1)), threads.spawn(serve(5))];
        both.map(|thread| thread.join().unwrap())
    });
    assert!(found.iter().all(|&tokens| tokens > 0), "{found:?}");
}

/// A file that was left unfinished long ago is nobody's.
#[test]
fn unfinished_files_are_tidied_up() {
    let scratch = Scratch::new("unfinished");
    answer(&mut reopened(&scratch.0), &scope(1), &prompt(1, PROMPT));
    let shard = files(&scratch.0)[0].parent().unwrap().to_owned();
    for folder in [shard, scratch.0.join("kv/weights")] {
        let (old, new) = (folder.join(".tmp-1-0"), folder.join(".tmp-1-1"));
        File::create(&old).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        File::create(&new).unwrap();
        reopened(&scratch.0).flush_disk();
        assert_eq!((old.exists(), new.exists()), (false, true), "{}", folder.display());
    }
}
