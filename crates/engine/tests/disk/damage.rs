//! Files that are not what they should be are removed, and their blocks computed again.

use std::fs;
use std::path::Path;

use crate::fixture::{PROMPT, Scratch, answer, files, prompt, reopened, scope};

/// A file that is gone is no damage.
const NOTHING: &str = "nothing";

/// Damages each of two files; the answer stays the same, and the file is whole again afterwards.
fn check(folder: &Path, expected: &[u32], what: &str, damage: &dyn Fn(&Path)) {
    let text = prompt(1, PROMPT);
    let before = files(folder);
    let whole: Vec<_> = before.iter().map(|path| fs::read(path).unwrap()).collect();
    for path in &before {
        damage(path);
        let mut engine = reopened(folder);
        let (known, logits) = answer(&mut engine, &scope(1), &text);
        assert!(known < 128, "{what}: the damaged block was used");
        assert_eq!(logits, expected, "{what}");
        engine.flush_disk();
        assert_eq!(engine.disk_stats().damaged, u64::from(what != NOTHING), "{what}");
        drop(engine);
        let now: Vec<_> = files(folder).iter().map(|path| fs::read(path).unwrap()).collect();
        assert_eq!(files(folder), before, "{what}");
        assert!(now == whole, "{what}: a file is not what it was");
    }
}

#[test]
fn whatever_is_damaged_is_computed_again() {
    let scratch = Scratch::new("damage");
    let (folder, text) = (&scratch.0, prompt(1, PROMPT));
    let (known, expected) = answer(&mut reopened(folder), &scope(1), &text);
    assert_eq!((known, files(folder).len()), (0, 2));
    let check = |what: &str, damage: &dyn Fn(&Path)| check(folder, &expected, what, damage);
    let change = |path: &Path, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    };
    let len = fs::metadata(&files(folder)[0]).unwrap().len() as usize;
    // Every byte of the header, some of the payload, every one of the checksum.
    let header = 0..344;
    let places = header.step_by(7).chain((344..len - 32).step_by(len / 20)).chain(len - 32..len);
    for (index, place) in places.enumerate() {
        let bit = 1 << (index % 8);
        check(&format!("byte {place}"), &|path| change(path, &|bytes| bytes[place] ^= bit));
    }
    for left in [0, 1, 343, 344, len - 32, len - 1] {
        check(&format!("{left} bytes"), &|path| change(path, &|bytes| bytes.truncate(left)));
    }
    check("one byte more", &|path| change(path, &|bytes| bytes.push(0)));
    check("another block", &|path| {
        let other = files(folder).into_iter().find(|other| other != path).unwrap();
        fs::copy(other, path).unwrap();
    });
    check(NOTHING, &|path| fs::remove_file(path).unwrap());
    #[cfg(unix)]
    check("a link", &|path| {
        let target = folder.join("elsewhere");
        fs::rename(path, &target).unwrap();
        std::os::unix::fs::symlink(&target, path).unwrap();
    });
}

/// A record of other weights' content leads nowhere.
#[test]
fn a_damaged_record_of_the_weights_is_made_again() {
    let scratch = Scratch::new("record");
    let (folder, text) = (&scratch.0, prompt(1, PROMPT));
    answer(&mut reopened(folder), &scope(1), &text);
    let records = folder.join("kv/weights");
    let record = fs::read_dir(&records).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&record).unwrap();
    for place in [0, 31, 32, 63] {
        let mut bytes = whole.clone();
        bytes[place] ^= 1;
        fs::write(&record, bytes).unwrap();
        // It is computed, and found again once the weights were hashed.
        assert_eq!(answer(&mut reopened(folder), &scope(1), &text).0, 0);
        assert_eq!(fs::read(&record).unwrap(), whole);
        assert_eq!(answer(&mut reopened(folder), &scope(1), &text).0, 128);
    }
}
