//! The store: trees, owners, bounds, versions, damage, and writers that are killed.

mod killed;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value, json};

use super::*;

/// A folder of its own, deleted at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lucid-store-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("data").join("conversations.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn settings(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// A conversation of `turns` questions and answers; returns its identifier.
fn talk(store: &Store, owner: &str, turns: usize) -> String {
    let id = store.create(owner, "tiny", &settings(&json!({"temperature": 0.5}))).unwrap().id;
    let mut parent = None;
    for turn in 0..turns {
        let said = store.say(owner, &id, parent, &format!("question {turn}")).unwrap();
        parent = Some(answer(store, owner, &id, said, &format!("answer {turn}")));
    }
    id
}

fn answer(store: &Store, owner: &str, conversation: &str, parent: i64, content: &str) -> i64 {
    let id = store.begin_answer(owner, conversation, parent, "tiny").unwrap();
    let written = Written { content: content.to_owned(), ..Written::default() };
    let outcome = Outcome { state: State::Complete, detail: json!({"stop": "end"}), tokens: None };
    store.finish(id, &written, &outcome).unwrap();
    id
}

const ALL: Window = Window { before: None, count_max: usize::MAX };

/// What is said on the branch that is shown.
fn shown(store: &Store, owner: &str, id: &str) -> Vec<String> {
    let leaf = store.conversation(owner, id).unwrap().leaf;
    let branch = store.branch(owner, id, leaf, ALL).unwrap();
    branch.into_iter().map(|message| message.content).collect()
}

fn titles(store: &Store, owner: &str, search: &str) -> Vec<String> {
    let wanted = Wanted { search: search.to_owned(), skip: 0, count_max: 100 };
    let listing = store.list(owner, &wanted).unwrap();
    listing.conversations.into_iter().map(|conversation| conversation.title).collect()
}

#[test]
fn conversations_outlast_the_store() {
    let folder = Folder::new();
    let opened = Store::open(&folder.file()).unwrap();
    assert_eq!(opened.notice, None);
    let id = talk(&opened.store, "me", 2);
    drop(opened);
    let opened = Store::open(&folder.file()).unwrap();
    assert_eq!(opened.notice, None);
    let conversation = opened.store.conversation("me", &id).unwrap();
    assert_eq!(conversation.settings, settings(&json!({"temperature": 0.5})));
    assert_eq!(
        shown(&opened.store, "me", &id),
        ["question 0", "answer 0", "question 1", "answer 1"]
    );
}

#[test]
fn edits_and_second_answers_are_branches() {
    let store = Store::in_memory().unwrap();
    let id = talk(&store, "me", 2);
    let branch = store.branch("me", &id, store.conversation("me", &id).unwrap().leaf, ALL).unwrap();
    let (first, second) = (branch[1].id, branch[2].id);
    // Another answer to the second question, and another second question.
    answer(&store, "me", &id, second, "another answer 1");
    assert_eq!(
        shown(&store, "me", &id),
        ["question 0", "answer 0", "question 1", "another answer 1"]
    );
    let edited = store.say("me", &id, Some(first), "another question").unwrap();
    answer(&store, "me", &id, edited, "its answer");
    assert_eq!(
        shown(&store, "me", &id),
        ["question 0", "answer 0", "another question", "its answer"]
    );
    // Back: the youngest end of the other branch.
    store.show_branch("me", &id, second).unwrap();
    assert_eq!(
        shown(&store, "me", &id),
        ["question 0", "answer 0", "question 1", "another answer 1"]
    );
    let leaf = store.conversation("me", &id).unwrap().leaf;
    let branch = store.branch("me", &id, leaf, ALL).unwrap();
    assert_eq!(branch[2].siblings, [second, edited]);
    assert_eq!(branch[3].siblings.len(), 2);
    assert_eq!(store.messages("me", &id).unwrap().len(), 7);
    // Another first question.
    store.say("me", &id, None, "quite another question").unwrap();
    assert_eq!(shown(&store, "me", &id), ["quite another question"]);
}

#[test]
fn a_long_branch_comes_in_parts() {
    let store = Store::in_memory().unwrap();
    let id = talk(&store, "me", 6);
    let leaf = store.conversation("me", &id).unwrap().leaf;
    let mut parts: Vec<String> = Vec::new();
    let mut before = None;
    loop {
        let part = store.branch("me", &id, leaf, Window { before, count_max: 5 }).unwrap();
        let Some(first) = part.first() else { break };
        before = Some(first.id);
        parts.splice(0..0, part.iter().map(|message| message.content.clone()));
    }
    assert_eq!(parts, shown(&store, "me", &id));
    assert_eq!(parts.len(), 12);
}

#[test]
fn owners_see_nothing_of_each_other() {
    let store = Store::in_memory().unwrap();
    let id = talk(&store, "me", 1);
    let leaf = store.conversation("me", &id).unwrap().leaf.unwrap();
    let response = Stored { status: "completed".to_owned(), body: json!({"a": 1}) };
    store.put_response("me", "r1", &response).unwrap();
    let missing = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::NotFound { .. })), "{result:?}");
    };
    missing(store.conversation("you", &id).map(drop));
    missing(store.change("you", &id, &Change::default()));
    missing(store.delete("you", &id));
    missing(store.say("you", &id, Some(leaf), "hello").map(drop));
    missing(store.begin_answer("you", &id, leaf, "tiny").map(drop));
    missing(store.branch("you", &id, Some(leaf), ALL).map(drop));
    missing(store.show_branch("you", &id, leaf).map(drop));
    missing(store.messages("you", &id).map(drop));
    missing(store.tokens("you", leaf).map(drop));
    missing(store.response("you", "r1").map(drop));
    assert!(!store.delete_response("you", "r1").unwrap());
    assert!(titles(&store, "you", "").is_empty());
    assert!(titles(&store, "you", "question").is_empty());
    assert_eq!(store.response("me", "r1").unwrap(), response);
    assert!(store.delete_response("me", "r1").unwrap());
    missing(store.response("me", "r1").map(drop));
}

#[test]
fn messages_of_another_conversation_are_no_parents() {
    let store = Store::in_memory().unwrap();
    let (one, other) = (talk(&store, "me", 1), talk(&store, "me", 1));
    let leaf = store.conversation("me", &one).unwrap().leaf;
    let misplaced = store.say("me", &other, leaf, "hello");
    assert!(matches!(misplaced, Err(StoreError::NotFound { .. })), "{misplaced:?}");
    let turns = store.begin_answer("me", &one, leaf.unwrap(), "tiny");
    assert!(matches!(turns, Err(StoreError::Misplaced { .. })), "{turns:?}");
}

#[test]
fn search_finds_text_in_any_writing() {
    let store = Store::in_memory().unwrap();
    for (title, text) in [
        ("one", "Der Übermut der Ämter"),
        ("two", "東京都に住んでいます"),
        ("100%_sure", "say \"AND\" OR NOT near* (all"),
    ] {
        let id = store.create("me", "tiny", &Map::new()).unwrap().id;
        store.say("me", &id, None, text).unwrap();
        let change = Change { title: Some(title.to_owned()), ..Change::default() };
        store.change("me", &id, &change).unwrap();
    }
    for (search, expected) in [
        ("übermut", &["one"][..]),
        ("ÄMTER", &["one"]),
        ("京都に", &["two"]),
        ("\"AND\" OR", &["100%_sure"]),
        ("near* (", &["100%_sure"]),
        ("0%_", &["100%_sure"]),
        ("on", &["one"]),
        ("%", &["100%_sure"]),
        ("__", &[]),
        ("nowhere", &[]),
    ] {
        assert_eq!(titles(&store, "me", search), expected, "{search}");
    }
}

/// Whether the bytes of the search index have this piece of a text. Pieces are written without what
/// they share with the one before them, so not every one is to be seen.
fn is_indexed(store: &Store, piece: &str) -> bool {
    let connection = store.lock();
    let mut statement = connection.prepare("SELECT block FROM search_data").unwrap();
    let blocks = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    let mut blocks = blocks.map(Result::unwrap);
    blocks.any(|block| block.windows(piece.len()).any(|window| window == piece.as_bytes()))
}

#[test]
fn what_is_deleted_is_gone_from_the_file() {
    let folder = Folder::new();
    let store = Store::open(&folder.file()).unwrap().store;
    let kept = talk(&store, "me", 1);
    let id = store.create("me", "tiny", &Map::new()).unwrap().id;
    let said = store.say("me", &id, None, "a secret word: xyzzyplugh").unwrap();
    let written = Written { content: "I keep xyzzyplugh".to_owned(), ..Written::default() };
    let answer = store.begin_answer("me", &id, said, "tiny").unwrap();
    store.write(answer, &written).unwrap();
    assert!(is_indexed(&store, "xyz"));
    store.delete("me", &id).unwrap();
    assert!(!is_indexed(&store, "xyz"), "the index still has a piece of it");
    assert!(is_indexed(&store, "que"));
    assert!(titles(&store, "me", "xyzzyplugh").is_empty());
    assert_eq!(shown(&store, "me", &kept), ["question 0", "answer 0"]);
    for entry in fs::read_dir(folder.file().parent().unwrap()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(10).any(|window| window == b"xyzzyplugh"));
    }
    // An answer that goes on after its conversation was deleted brings nothing back.
    let outcome = Outcome { state: State::Complete, detail: json!({}), tokens: None };
    store.finish(answer, &written, &outcome).unwrap();
    assert!(titles(&store, "me", "xyzzyplugh").is_empty());
}

#[test]
fn sizes_are_bounded() {
    let store = Store::in_memory().unwrap();
    let id = store.create("me", "tiny", &Map::new()).unwrap().id;
    let large = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::TooLarge { .. })), "{result:?}");
    };
    large(store.say("me", &id, None, &"a".repeat((4 << 20) + 1)).map(drop));
    let title = Change { title: Some("a".repeat(401)), ..Change::default() };
    large(store.change("me", &id, &title));
    large(store.create("me", "tiny", &settings(&json!({"a": "b".repeat(300_000)}))).map(drop));
    let body = Value::String("a".repeat(16 << 20));
    large(store.put_response("me", "r", &Stored { status: "completed".to_owned(), body }));
    let said = store.say("me", &id, None, "hello").unwrap();
    let answer = store.begin_answer("me", &id, said, "tiny").unwrap();
    let tokens = Some("a".repeat((8 << 20) + 1));
    let outcome = Outcome { state: State::Complete, detail: json!({}), tokens };
    store.finish(answer, &Written::default(), &outcome).unwrap();
    assert_eq!(store.tokens("me", answer).unwrap(), None);
}

#[cfg(unix)]
#[test]
fn only_the_owner_reads_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let store = Store::open(&folder.file()).unwrap().store;
    talk(&store, "me", 1);
    let data = folder.file().parent().unwrap().to_owned();
    for entry in fs::read_dir(&data).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(data.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    drop(store);
    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o644)).unwrap();
    drop(Store::open(&folder.file()).unwrap());
    let mode = folder.file().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn older_files_are_brought_up_to_date() {
    let folder = Folder::new();
    fs::create_dir_all(folder.file().parent().unwrap()).unwrap();
    for version in 1..schema::STEPS.len() {
        let connection = Connection::open(folder.file()).unwrap();
        for step in &schema::STEPS[..version] {
            connection.execute_batch(step).unwrap();
        }
        connection.pragma_update(None, "user_version", version as i64).unwrap();
        connection
            .execute_batch(
                "INSERT INTO conversation VALUES ('c', 'me', 'old', 'tiny', '{}', 1, 5, 5);
                 INSERT INTO message VALUES
                 (1, 'c', NULL, 'user', 'an old question', '', '[]', '', 'complete', '{}',
                 NULL, 5)",
            )
            .unwrap();
        if version >= 3 {
            let index = "INSERT INTO search (rowid, text) VALUES (1, 'an old question')";
            connection.execute(index, []).unwrap();
        }
        drop(connection);
        let opened = Store::open(&folder.file()).unwrap();
        assert_eq!(opened.notice, None);
        assert_eq!(shown(&opened.store, "me", "c"), ["an old question"]);
        assert_eq!(titles(&opened.store, "me", "old quest"), ["old"]);
        drop(opened);
        fs::remove_file(folder.file()).unwrap();
    }
}

#[test]
fn older_files_forget_what_was_deleted_in_them() {
    let folder = Folder::new();
    fs::create_dir_all(folder.file().parent().unwrap()).unwrap();
    let connection = Connection::open(folder.file()).unwrap();
    connection.execute_batch("PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON").unwrap();
    for step in &schema::STEPS[..3] {
        connection.execute_batch(step).unwrap();
    }
    connection.pragma_update(None, "user_version", 3).unwrap();
    let store = Store { connection: Mutex::new(connection) };
    let id = store.create("me", "tiny", &Map::new()).unwrap().id;
    store.say("me", &id, None, "a secret word: xyzzyplugh").unwrap();
    store.delete("me", &id).unwrap();
    assert!(is_indexed(&store, "xyz"), "the older version was better than thought");
    drop(store);
    let opened = Store::open(&folder.file()).unwrap();
    assert!(!is_indexed(&opened.store, "xyz"));
    drop(opened);
    let bytes = fs::read(folder.file()).unwrap();
    assert!(!bytes.windows(10).any(|window| window == b"xyzzyplugh"));
}

#[test]
fn newer_files_are_left_alone() {
    let folder = Folder::new();
    talk(&Store::open(&folder.file()).unwrap().store, "me", 1);
    let connection = Connection::open(folder.file()).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = Store::open(&folder.file()).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    assert!(folder.file().exists());
}

/// What becomes of the bytes of a sound file.
type Damage = fn(&mut Vec<u8>);

#[test]
fn damaged_files_are_moved_aside() {
    let folder = Folder::new();
    let damages: [(&str, Damage); 4] = [
        ("no database", |bytes| *bytes = b"this is no database, but some text\n".repeat(40)),
        ("head", |bytes| bytes[..100].fill(0x5a)),
        ("pages", |bytes| bytes[4096..].fill(0x5a)),
        ("cut off", |bytes| bytes.truncate(bytes.len() / 2)),
    ];
    for (name, damage) in damages {
        let store = Store::open(&folder.file()).unwrap().store;
        talk(&store, "me", 20);
        drop(store);
        let mut bytes = fs::read(folder.file()).unwrap();
        damage(&mut bytes);
        fs::write(folder.file(), &bytes).unwrap();
        let opened = Store::open(&folder.file()).unwrap();
        let notice = opened.notice.expect(name);
        assert!(notice.contains(".damaged-"), "{notice}");
        assert!(titles(&opened.store, "me", "").is_empty(), "{name}");
        talk(&opened.store, "me", 1);
        let aside = fs::read_dir(folder.file().parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.to_string_lossy().contains(".damaged-"));
        assert_eq!(fs::read(aside.unwrap()).unwrap(), bytes, "{name}");
        drop(opened.store);
        fs::remove_dir_all(folder.file().parent().unwrap()).unwrap();
    }
}

#[test]
fn an_answer_that_was_broken_off_says_so() {
    let folder = Folder::new();
    let store = Store::open(&folder.file()).unwrap().store;
    let id = store.create("me", "tiny", &Map::new()).unwrap().id;
    let said = store.say("me", &id, None, "hello").unwrap();
    let answer = store.begin_answer("me", &id, said, "tiny").unwrap();
    let written = Written { content: "so far".to_owned(), ..Written::default() };
    store.write(answer, &written).unwrap();
    drop(store);
    let store = Store::open(&folder.file()).unwrap().store;
    let branch = store.branch("me", &id, Some(answer), ALL).unwrap();
    assert_eq!((branch[1].state, branch[1].content.as_str()), (State::Interrupted, "so far"));
}

#[test]
fn old_responses_make_room() {
    let store = Store::in_memory().unwrap();
    let response = Stored { status: "completed".to_owned(), body: json!({}) };
    store.put_response("me", "old", &response).unwrap();
    let ancient = "UPDATE response SET updated = 5 WHERE id = 'old'";
    store.lock().execute(ancient, []).unwrap();
    store.put_response("me", "new", &response).unwrap();
    assert!(matches!(store.response("me", "old"), Err(StoreError::NotFound { .. })));
    assert_eq!(store.response("me", "new").unwrap(), response);
}
