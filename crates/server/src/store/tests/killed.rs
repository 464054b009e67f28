//! A process writes and tells what was acknowledged; it is killed at a random moment; whatever it
//! told is in the file. `LUCID_STORE_KILLS` says how often, 12 times without it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;

/// Tells the writer its file; without it the writer's test does nothing.
const FILE: &str = "LUCID_STORE_WRITER";

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let kills = std::env::var("LUCID_STORE_KILLS").ok().and_then(|text| text.parse().ok());
    let folder = Folder::new();
    let mut acknowledged = BTreeMap::new();
    let mut random = 0x9e37_79b9_u64;
    for _ in 0..kills.unwrap_or(12) {
        // Between 5 and 130 ms of writing.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let time = Duration::from_millis(5 + (random >> 40) % 125);
        let before = acknowledged.len();
        acknowledged.extend(write_and_be_killed(&folder.file(), time));
        assert!(acknowledged.len() > before, "the writer wrote nothing");
        check(&folder.file(), &acknowledged);
    }
}

/// Identifiers of messages and responses, and how far each had come.
fn write_and_be_killed(file: &Path, time: Duration) -> BTreeMap<String, u64> {
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::killed::writer", "--nocapture"])
        .env(FILE, file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(writer.stdout.take().unwrap());
    let mut told = String::new();
    // The time begins with the first acknowledgement, and what is in the pipe counts.
    while !told.contains("ack ") {
        assert_ne!(lines.read_line(&mut told).unwrap(), 0, "the writer ended: {told}");
    }
    std::thread::sleep(time);
    writer.kill().unwrap();
    lines.read_to_string(&mut told).unwrap();
    writer.wait().unwrap();
    // The last line may be cut off.
    let whole = told.rfind('\n').map_or("", |end| &told[..end]);
    let mut acknowledged = BTreeMap::new();
    for line in whole.lines() {
        let mut words = line.split_whitespace().skip_while(|word| *word != "ack").skip(1);
        if let (Some(id), Some(count)) = (words.next(), words.next()) {
            acknowledged.insert(id.to_owned(), count.parse().unwrap());
        }
    }
    acknowledged
}

fn check(file: &Path, acknowledged: &BTreeMap<String, u64>) {
    let opened = Store::open(file).unwrap();
    assert_eq!(opened.notice, None);
    let verdict: String =
        opened.store.lock().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    for (id, &count) in acknowledged {
        let found: u64 = if id.starts_with("response-") {
            opened.store.response("me", id).unwrap().body["count"].as_u64().unwrap()
        } else {
            let asked = "SELECT content FROM message WHERE id = ?1";
            let content: String =
                opened.store.lock().query_row(asked, [id], |row| row.get(0)).unwrap();
            content.split(' ').next().unwrap().parse().unwrap()
        };
        assert!(found >= count, "{id}: {count} acknowledged, {found} found");
    }
}

/// Not a test by itself: the process that is killed.
#[test]
fn writer() {
    let Some(file) = std::env::var_os(FILE) else { return };
    let store = Store::open(Path::new(&file)).unwrap().store;
    let filler = " and so on".repeat(200);
    let mut out = std::io::stdout();
    let mut tell = |id: &str, count: u64| writeln!(out, "\nack {id} {count}").unwrap();
    for round in 0u64.. {
        let id = store.create("me", "tiny", &Map::new()).unwrap().id;
        let said = store.say("me", &id, None, "0 hello").unwrap();
        tell(&said.to_string(), 0);
        let answer = store.begin_answer("me", &id, said, "tiny").unwrap();
        let mut written = Written::default();
        for count in 1..6 {
            written.content = format!("{count}{}", filler.repeat(count as usize));
            store.write(answer, &written).unwrap();
            tell(&answer.to_string(), count);
        }
        let outcome = Outcome { state: State::Complete, detail: json!({}), tokens: None };
        written.content = format!("6{filler}");
        store.finish(answer, &written, &outcome).unwrap();
        tell(&answer.to_string(), 6);
        let body = json!({"count": round});
        let name = format!("response-{id}");
        store.put_response("me", &name, &Stored { status: "completed".to_owned(), body }).unwrap();
        tell(&name, round);
    }
}
