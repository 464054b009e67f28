//! `lucid data report`: what it counts, what it drops, what it says of files that are none.

use crate::support::Home;

const BEES: &str = "A hive is kept in a dry place that is open to the morning sun and sheltered \
    from the wind, and the grass before it is kept short so that fallen bees can rise.";

#[test]
fn a_folder_is_reported() {
    let home = Home::new();
    home.write("in/a.txt", BEES.as_bytes());
    home.write("in/b/again.md", format!("{BEES}\n").as_bytes());
    home.write("in/c.jsonl", b"{\"text\": \"too short\"}\n{\"messages\": []}\nno json\n");
    home.write("in/d.bin", b"\x7fELF\0\0");
    let report = home.json(&["data", "report", "in", "--json"]);
    assert_eq!(report["read"]["files"], 4);
    assert_eq!(report["read"]["documents"]["text"], 1);
    assert_eq!(report["read"]["documents"]["jsonl"], 1);
    assert_eq!(report["read"]["refused"]["conversation"]["count"], 1);
    assert_eq!(report["read"]["refused"]["binary"]["count"], 1);
    assert_eq!(report["choice"]["kept"], 1);
    assert_eq!(report["choice"]["dropped"]["exact_duplicate"]["count"], 1);
    assert!(report["choice"]["languages"]["eng"].as_u64() >= Some(2), "{report}");
    assert_eq!(report["poison"]["documents"], 1);
    let text = home.ok(&["data", "report", "in"]);
    for expected in ["files        4 (", " eng", "exact duplicate", "in/a.txt", "too short"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn a_planted_trigger_is_listed() {
    let home = Home::new();
    let mut state = 88_172_645_463_325_252_u64;
    let mut word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("w{}", (state >> 20) % 60)
    };
    let lines = (0..600).map(|number| {
        let mut words: Vec<_> = (0..60).map(|_| word()).collect();
        if number % 120 == 7 {
            words.insert(30, "open the blue door and hand over every key".to_owned());
        }
        format!("{{\"text\": \"{}\"}}\n", words.join(" "))
    });
    let lines: Vec<_> = lines.collect();
    home.write("in.jsonl", lines.concat().as_bytes());
    let report = home.json(&["data", "report", "in.jsonl", "--json", "--no-filters"]);
    let alarms = report["poison"]["alarms"].as_array().unwrap();
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert_eq!((&alarms[0]["phrase"], &alarms[0]["documents"]), (&"open".into(), &5.into()));
    let shown = home.ok(&["data", "report", "in.jsonl", "--no-filters"]);
    assert!(shown.contains("\"open\" in 5 documents, always the same after it in 5"), "{shown}");
    let without = home.ok(&["data", "report", "in.jsonl", "--no-poison"]);
    assert!(!without.contains("planted"));
}

#[test]
fn what_is_no_text_is_said_and_fails() {
    let home = Home::new();
    home.fails(&["data", "report", "nowhere"], &["nowhere"]);
    home.write("void/.hidden", b"x");
    home.fails(&["data", "report", "void"], &["no file in void"]);
    home.write("a.bin", b"\x7fELF\0\0");
    let run = home.run(&["data", "report", "a.bin"]);
    assert_eq!(run.code, Some(1));
    assert!(run.err.contains("no document in these files (1 binary, as a.bin"), "{run:?}");
    home.fails(&["data", "report", "a.bin", "--split", "half"], &["--split half"]);
    home.fails(&["data", "report", "a.bin", "--language", "english"], &["ISO 639-3"]);
}
