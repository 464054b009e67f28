//! From files to shards: documents are chosen, split by side, tokenised and written.
//!
//! Invariant: the list `data.json` is written last and replaced in one step. A folder with it holds
//! all that it lists; one without it was not finished, and is prepared again from the beginning.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use lucid_sys::{ThreadPool, write_atomic};
use lucid_tokenizer::{AddSpecial, Encoder, ParseSpecial, TokenId, Tokenizer};
use serde::{Deserialize, Serialize};

use super::examine::{ChoiceTally, ChooseOptions, Examined, Examiner, Observer, tell};
use super::read::{Files, ReadTally};
use super::shard::hexadecimal;
use super::split::{HoldOut, Side, usual_share};
use super::{
    Check, DedupOptions, Duplicates, FilterOptions, ShardEntry, ShardWriter, Shards, VocabularyId,
};
use crate::TrainError;

const LIST: &str = "data.json";
const VERSION: u32 = 1;

/// The files of a run, and folders of them.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// To learn from.
    pub training: &'a [PathBuf],
    /// To measure with. They are read as they are: nothing of them is filtered, and what equals
    /// one of their documents is not learned from. Where there are none, a share of the documents
    /// to learn from is held out.
    pub validation: &'a [PathBuf],
}

/// What prepared data depend on, besides files and tokenizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// How documents are chosen.
    pub choose: ChooseOptions,
    /// The share of the text for validation, where it has no files of its own; by its size, where
    /// there is none: see [`usual_share`].
    pub held_out: Option<f64>,
    /// Of the split.
    pub seed: u64,
    /// Tokens of a shard.
    pub shard_tokens: u64,
}

impl Default for Recipe {
    fn default() -> Self {
        let shard_tokens = ShardWriter::TOKENS_MAX;
        Self { choose: ChooseOptions::default(), held_out: None, seed: 0, shard_tokens }
    }
}

/// What a preparation did.
#[derive(Clone, Debug)]
pub struct Preparation {
    /// Where the data are now.
    pub prepared: Prepared,
    /// What was read; `None` where the data were there already.
    pub read: Option<ReadTally>,
    /// What was dropped; `None` where the data were there already.
    pub choice: Option<ChoiceTally>,
}

/// The list of a folder with prepared data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct List {
    version: u32,
    /// Of files, recipe and vocabulary; hexadecimal.
    identity: String,
    vocabulary: String,
    recipe: Recipe,
    training: Vec<ShardEntry>,
    validation: Vec<ShardEntry>,
}

impl List {
    fn write(&self, folder: &Path) -> Result<(), TrainError> {
        let path = folder.join(LIST);
        write_atomic(&path, |writer| {
            serde_json::to_writer_pretty(&mut *writer, self)?;
            writer.write_all(b"\n")
        })
        .map_err(|source| TrainError::Write { path, source })
    }
}

/// A folder with prepared data.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    folder: PathBuf,
    list: List,
}

impl Prepared {
    /// Reads a folder's list.
    ///
    /// # Errors
    /// There is none, or it is not one.
    pub fn read(folder: &Path) -> Result<Self, TrainError> {
        let path = folder.join(LIST);
        let wrong = |what: String| TrainError::List { path: path.clone(), what };
        let bytes = fs::read(&path).map_err(|error| wrong(error.to_string()))?;
        let list: List =
            serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if list.version != VERSION {
            return Err(wrong(format!("version {}, known is {VERSION}", list.version)));
        }
        let mut entries = list.training.iter().chain(&list.validation);
        // Names come from a file: they must not lead elsewhere.
        let leads_away = |entry: &&ShardEntry| {
            let mut parts = Path::new(&entry.file).components();
            !matches!((parts.next(), parts.next()), (Some(std::path::Component::Normal(_)), None))
        };
        if let Some(entry) = entries.find(leads_away) {
            return Err(wrong(format!("{:?} is no file's name", entry.file)));
        }
        Ok(Self { folder: folder.to_owned(), list })
    }

    /// Maps the shards of a side.
    ///
    /// # Errors
    /// As for [`Shards::open`].
    pub fn open(
        &self,
        side: Side,
        vocabulary: &VocabularyId,
        check: Check,
    ) -> Result<Shards, TrainError> {
        Shards::open(&self.folder, self.entries(side), vocabulary, check)
    }

    /// The shards of a side.
    pub fn entries(&self, side: Side) -> &[ShardEntry] {
        match side {
            Side::Training => &self.list.training,
            Side::Validation => &self.list.validation,
        }
    }

    /// What tells these data from all others; hexadecimal.
    pub fn identity(&self) -> &str {
        &self.list.identity
    }

    /// How they were made.
    pub fn recipe(&self) -> &Recipe {
        &self.list.recipe
    }
}

/// Prepares files in `folder`, which is made if it is not there. Where the same files (by path,
/// length and time of change) were prepared there in the same way, that is all that is found out.
/// The tally of what was read is that of the files to learn from.
///
/// # Errors
/// Files or folder cannot be read or written; there are no documents, or none for one side; the
/// observer stopped it. What `folder` held before is then gone unless it was these data.
pub fn prepare(
    inputs: &Inputs<'_>,
    recipe: &Recipe,
    tokenizer: &Tokenizer,
    folder: &Path,
    pool: &ThreadPool,
    observer: &mut Observer<'_>,
) -> Result<Preparation, TrainError> {
    check_recipe(recipe)?;
    let files = Files::find(inputs.training, recipe.choose.read.clone())?;
    let measured = match inputs.validation {
        [] => None,
        inputs => Some(Files::find(inputs, recipe.choose.read.clone())?),
    };
    let vocabulary = VocabularyId::of(tokenizer);
    let identity = identity([Some(&files), measured.as_ref()], recipe, &vocabulary)?;
    if let Ok(prepared) = Prepared::read(folder)
        && prepared.list.identity == identity
        && is_whole(&prepared)
    {
        return Ok(Preparation { prepared, read: None, choice: None });
    }
    clear(folder)?;
    let writer = |name| ShardWriter::new(folder, name, vocabulary, recipe.shard_tokens);
    let mut sides = Sides { training: writer("training"), validation: writer("validation") };
    let mut encoders = Encoders::new(tokenizer, pool);
    let held_out = match &measured {
        Some(files) => {
            hold_out(files, recipe, &mut encoders, &mut sides.validation, pool, observer)?
        }
        None => HashSet::new(),
    };
    let mut examiner = Examiner::new(&files, &recipe.choose).without(held_out);
    let share = match measured {
        Some(_) => 0.0,
        None => recipe.held_out.unwrap_or_else(|| usual_share(files.bytes())),
    };
    let mut split = HoldOut::new(share, recipe.seed, files.bytes());
    loop {
        tell(observer, "reading", examiner.documents().bytes_done(), files.bytes())?;
        let portion = examiner.portion(pool);
        if portion.is_empty() {
            break;
        }
        let kept = kept(portion);
        let mut pieces = Vec::new();
        for examined in &kept {
            let text = &examined.document.text;
            let parts = split.parts(&examined.content, text);
            pieces.extend(parts.into_iter().map(|(side, part)| Piece::of(side, &text[part])));
        }
        encoders.encode(&mut pieces, pool);
        for Piece { side, text, tokens } in &pieces {
            sides.writer(*side).push(tokens, text.len() as u64)?;
        }
    }
    let (read, choice) = (examiner.documents().tally().clone(), examiner.tally.clone());
    sides.check(&read, &choice, share)?;
    let list = List {
        version: VERSION,
        identity,
        vocabulary: hexadecimal(&vocabulary.fingerprint),
        recipe: recipe.clone(),
        training: sides.training.finish()?,
        validation: sides.validation.finish()?,
    };
    list.write(folder)?;
    let prepared = Prepared { folder: folder.to_owned(), list };
    Ok(Preparation { prepared, read: Some(read), choice: Some(choice) })
}

/// Writes the text to measure with, all of it; returns the contents of its documents.
fn hold_out(
    files: &Files,
    recipe: &Recipe,
    encoders: &mut Encoders<'_>,
    writer: &mut ShardWriter,
    pool: &ThreadPool,
    observer: &mut Observer<'_>,
) -> Result<HashSet<[u8; 32]>, TrainError> {
    let (exact, near) = (Duplicates::Keep, Duplicates::Keep);
    let all = ChooseOptions {
        filter: FilterOptions::none(),
        dedup: DedupOptions { exact, near, ..recipe.choose.dedup },
        ..recipe.choose.clone()
    };
    let mut examiner = Examiner::new(files, &all);
    let mut contents = HashSet::new();
    loop {
        let done = examiner.documents().bytes_done();
        tell(observer, "reading what is held out", done, files.bytes())?;
        let portion = examiner.portion(pool);
        if portion.is_empty() {
            break;
        }
        let kept = kept(portion);
        let texts = kept.iter().map(|examined| &examined.document.text);
        let mut pieces: Vec<_> = texts.map(|text| Piece::of(Side::Validation, text)).collect();
        encoders.encode(&mut pieces, pool);
        for Piece { text, tokens, .. } in &pieces {
            writer.push(tokens, text.len() as u64)?;
        }
        contents.extend(kept.iter().map(|examined| examined.content));
    }
    if contents.is_empty() {
        let read = examiner.documents().tally();
        return Err(TrainError::NoDocuments { files: read.files as usize, why: read.refusals() });
    }
    Ok(contents)
}

struct Sides {
    training: ShardWriter,
    validation: ShardWriter,
}

impl Sides {
    fn writer(&mut self, side: Side) -> &mut ShardWriter {
        match side {
            Side::Training => &mut self.training,
            Side::Validation => &mut self.validation,
        }
    }

    fn check(&self, read: &ReadTally, choice: &ChoiceTally, share: f64) -> Result<(), TrainError> {
        let (training, validation) = (self.training.documents(), self.validation.documents());
        let documents = training + validation;
        if documents == 0 {
            let why = match choice.in_words() {
                dropped if dropped.is_empty() => read.refusals(),
                dropped => format!("dropped: {dropped}; refused: {}", read.refusals()),
            };
            return Err(TrainError::NoDocuments { files: read.files as usize, why });
        }
        if training == 0 {
            return Err(TrainError::EmptySide { documents, side: "training" });
        }
        if validation == 0 && share > 0.0 {
            return Err(TrainError::EmptySide { documents, side: "validation" });
        }
        Ok(())
    }
}

fn check_recipe(recipe: &Recipe) -> Result<(), TrainError> {
    recipe.choose.filter.check()?;
    let wrong =
        |option, found: String, expected| Err(TrainError::Option { option, found, expected });
    if let Some(share) = recipe.held_out
        && !(0.0..=0.5).contains(&share)
    {
        return wrong("the share held out", share.to_string(), "0 to 0.5");
    }
    if !(1 << 10..=1 << 32).contains(&recipe.shard_tokens) {
        let found = recipe.shard_tokens.to_string();
        return wrong("tokens of a shard", found, "1024 to 4294967296");
    }
    let similarity = recipe.choose.dedup.similarity_min;
    if !(0.3..=1.0).contains(&similarity) {
        return wrong("the similarity of duplicates", similarity.to_string(), "0.3 to 1");
    }
    Ok(())
}

/// The documents that stay.
fn kept(portion: Vec<Examined>) -> Vec<Examined> {
    portion.into_iter().filter(|examined| examined.dropped.is_none()).collect()
}

/// A document, or a part of one that is one for itself.
struct Piece<'text> {
    side: Side,
    text: &'text str,
    tokens: Vec<TokenId>,
}

impl<'text> Piece<'text> {
    fn of(side: Side, text: &'text str) -> Self {
        Self { side, text, tokens: Vec::new() }
    }
}

/// One for each thread, which remembers the words that it met.
struct Encoders<'a> {
    encoders: Vec<Encoder<'a>>,
    begin: Option<TokenId>,
}

impl<'a> Encoders<'a> {
    fn new(tokenizer: &'a Tokenizer, pool: &ThreadPool) -> Self {
        let encoders = (0..pool.threads()).map(|_| tokenizer.encoder()).collect();
        Self { encoders, begin: tokenizer.bos() }
    }

    fn encode(&mut self, pieces: &mut [Piece<'_>], pool: &ThreadPool) {
        let begin = self.begin;
        pool.for_each_with(&mut self.encoders, pieces, |encoder, _, piece| {
            let text = piece.text.as_bytes();
            piece.tokens.extend(begin);
            // Whatever a document spells, no part of it becomes a control token.
            encoder.encode(text, &[], AddSpecial::No, ParseSpecial::No, &mut piece.tokens);
        });
    }
}

fn identity(
    sides: [Option<&Files>; 2],
    recipe: &Recipe,
    vocabulary: &VocabularyId,
) -> Result<String, TrainError> {
    let mut hasher = blake3::Hasher::new_derive_key("lucid prepared data identity 1");
    hasher.update(&vocabulary.fingerprint);
    hasher.update(format!("{recipe:?}").as_bytes());
    let listed = sides.into_iter().flat_map(|files| {
        let files = files.map_or(&[][..], Files::list);
        files.iter().map(Some).chain([None])
    });
    for file in listed {
        let Some(file) = file else {
            hasher.update(b"end of a side\n");
            continue;
        };
        let failed = |source| TrainError::Read { path: file.path.clone(), source };
        let info = fs::metadata(&file.path).map_err(failed)?;
        let time = info.modified().ok().and_then(|time| {
            let since = time.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
            Some(since.as_nanos())
        });
        let name = file.path.as_os_str().as_encoded_bytes();
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name);
        hasher.update(format!("{} {time:?}\n", info.len()).as_bytes());
    }
    Ok(hexadecimal(&hasher.finalize().as_bytes()[..16]))
}

/// Whether all files of a list are there with a length that fits.
fn is_whole(prepared: &Prepared) -> bool {
    let list = &prepared.list;
    list.training.iter().chain(&list.validation).all(|entry| {
        let info = fs::metadata(prepared.folder.join(&entry.file));
        info.is_ok_and(|info| info.len() > 2 * entry.tokens)
    })
}

/// Makes the folder, or removes the list and the shards that are in it.
fn clear(folder: &Path) -> Result<(), TrainError> {
    let failed = |source| TrainError::Write { path: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    // The list first: a folder with a list is whole.
    match fs::remove_file(folder.join(LIST)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|end| end == "tokens") {
            fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use lucid_tokenizer::TokenKind::{Byte, Control, Unknown};

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("lucid-train-prepare-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(path.join("in")).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// A token for each byte, and one that begins documents.
    fn tokenizer() -> Tokenizer {
        let pieces = (0..256).map(|byte| format!("<0x{byte:02X}>").into_bytes());
        let tokens: Vec<Vec<u8>> =
            [b"<unk>".to_vec(), b"<|bos|>".to_vec()].into_iter().chain(pieces).collect();
        let vocabulary = lucid_tokenizer::Vocabulary {
            model: "llama".to_owned(),
            tokens: tokens.iter().collect(),
            scores: vec![0.0; 258],
            kinds: [Unknown, Control].into_iter().chain([Byte; 256]).collect(),
            bos: Some(1),
            unk: Some(0),
            add_space_prefix: Some(false),
            ..Default::default()
        };
        Tokenizer::new(vocabulary).unwrap()
    }

    fn document(number: usize) -> String {
        let mut random = crate::random::Random::new("prepare test", number as u64, 0);
        let word = |_| format!("word{} ", random.below(997));
        format!("Document {number}: {}", (0..40).map(word).collect::<Vec<_>>().concat())
    }

    fn corpus(folder: &Folder) -> Vec<PathBuf> {
        let input = folder.0.join("in");
        for number in 0..200 {
            fs::write(input.join(format!("{number:03}.txt")), document(number)).unwrap();
        }
        fs::write(input.join("again.txt"), document(7) + "\n").unwrap();
        fs::write(input.join("short.txt"), "two words").unwrap();
        vec![input]
    }

    fn run(
        inputs: &[PathBuf],
        recipe: &Recipe,
        folder: &Path,
        threads: usize,
    ) -> Result<Preparation, TrainError> {
        let go_on = &mut |_: super::super::Progress| ControlFlow::Continue(());
        let inputs = &Inputs { training: inputs, validation: &[] };
        prepare(inputs, recipe, &tokenizer(), folder, &ThreadPool::new(threads), go_on)
    }

    #[test]
    fn documents_become_shards_whatever_the_threads() {
        let folder = Folder::new("threads");
        let inputs = corpus(&folder);
        let recipe = Recipe { held_out: Some(0.1), shard_tokens: 4096, ..Recipe::default() };
        let mut found = Vec::new();
        for threads in [1, 3] {
            let out = folder.0.join(format!("out{threads}"));
            let made = run(&inputs, &recipe, &out, threads).unwrap();
            let choice = made.choice.unwrap();
            assert_eq!((choice.kept, made.read.unwrap().files), (200, 202));
            let again = &choice.dropped[&super::super::Rule::ExactDuplicate];
            assert!(again.examples[0].contains("again.txt: of") && again.count == 1, "{again:?}");
            assert_eq!(choice.dropped[&super::super::Rule::Short].count, 1);
            found.push(made.prepared.list);
        }
        assert_eq!(found[0], found[1]);
        let prepared = Prepared::read(&folder.0.join("out1")).unwrap();
        let id = VocabularyId::of(&tokenizer());
        let open = |side| prepared.open(side, &id, Check::All).unwrap();
        let (training, validation) = (open(Side::Training), open(Side::Validation));
        assert_eq!(training.documents() + validation.documents(), 200);
        assert!((8..40).contains(&validation.documents()), "{}", validation.documents());
        assert!(prepared.entries(Side::Training).len() > 1);
        let mut tokens = Vec::new();
        training.read(0, 0..training.document_len(0), &mut tokens).unwrap();
        assert_eq!(tokens[0], 1);
        let text = tokenizer().decode(&tokens[1..], lucid_tokenizer::ShowSpecial::Yes);
        assert!(text.starts_with(b"Document"));
    }

    #[test]
    fn one_long_file_gives_text_to_learn_and_to_measure_with() {
        let folder = Folder::new("book");
        let input = folder.0.join("in/book.txt");
        let book = (0..3000).map(document).collect::<Vec<_>>().join("\n\n");
        fs::write(&input, &book).unwrap();
        let out = folder.0.join("out");
        let made = run(&[input], &Recipe::default(), &out, 2).unwrap();
        let bytes = |side| made.prepared.entries(side).iter().map(|e| e.text_bytes).sum::<u64>();
        let (learned, held) = (bytes(Side::Training), bytes(Side::Validation));
        assert_eq!(learned + held, book.len() as u64);
        let share = usual_share(book.len() as u64);
        let expected = book.len() as f64 * share;
        assert!((held as f64 - expected).abs() < 1000.0, "{held}, expected {expected}");
        assert_eq!(made.prepared.entries(Side::Validation)[0].documents, 1);
    }

    #[test]
    fn files_to_measure_with_are_held_out_whole_and_not_learned_from() {
        let folder = Folder::new("validation");
        let training = corpus(&folder);
        // Two of the documents to learn from, the second with other white space, one twice, and
        // what a filter would drop.
        let measured = folder.0.join("measured");
        fs::create_dir_all(&measured).unwrap();
        let texts = [document(3), document(4).replace(' ', "\n"), document(500), document(500)];
        for (number, text) in texts.iter().enumerate() {
            fs::write(measured.join(format!("{number}.txt")), text).unwrap();
        }
        fs::write(measured.join("short.txt"), "One word").unwrap();
        let go_on = &mut |_: super::super::Progress| ControlFlow::Continue(());
        let out = folder.0.join("out");
        let validation = vec![measured];
        let inputs = Inputs { training: &training, validation: &validation };
        let mut make = |inputs: &Inputs<'_>| {
            let recipe = Recipe::default();
            prepare(inputs, &recipe, &tokenizer(), &out, &ThreadPool::new(2), go_on)
        };
        let made = make(&inputs).unwrap();
        let choice = made.choice.unwrap();
        assert_eq!(choice.dropped[&super::super::Rule::HeldOut].count, 2);
        assert_eq!(choice.kept, 198);
        let sum = |side, of: fn(&ShardEntry) -> u64| -> u64 {
            made.prepared.entries(side).iter().map(of).sum()
        };
        assert_eq!(sum(Side::Training, |entry| entry.documents), 198);
        assert_eq!(sum(Side::Validation, |entry| entry.documents), 5);
        let bytes = texts.iter().map(String::len).sum::<usize>() as u64 + 8;
        assert_eq!(sum(Side::Validation, |entry| entry.text_bytes), bytes);
        // The same again is found; the files to measure with are part of what tells it.
        assert!(make(&inputs).unwrap().read.is_none());
        fs::write(validation[0].join("short.txt"), "Two words").unwrap();
        assert!(make(&inputs).unwrap().read.is_some());
        let nothing = vec![folder.0.join("nothing")];
        fs::write(&nothing[0], b"").unwrap();
        let error = make(&Inputs { training: &training, validation: &nothing }).unwrap_err();
        assert!(error.to_string().contains("1 empty"), "{error}");
    }

    #[test]
    fn what_is_there_is_not_made_again_and_what_is_damaged_is() {
        let folder = Folder::new("again");
        let inputs = corpus(&folder);
        let out = folder.0.join("out");
        let recipe = Recipe { held_out: Some(0.1), ..Recipe::default() };
        let first = run(&inputs, &recipe, &out, 1).unwrap();
        assert!(run(&inputs, &recipe, &out, 1).unwrap().read.is_none());
        // Another recipe, another file, a shard that is gone, a list that was not written.
        let seeded = Recipe { seed: 5, ..recipe.clone() };
        assert!(run(&inputs, &seeded, &out, 1).unwrap().read.is_some());
        assert_ne!(Prepared::read(&out).unwrap().identity(), first.prepared.identity());
        fs::write(inputs[0].join("new.txt"), document(999)).unwrap();
        assert_eq!(run(&inputs, &seeded, &out, 1).unwrap().choice.unwrap().kept, 201);
        let shard = out.join(&Prepared::read(&out).unwrap().entries(Side::Training)[0].file);
        fs::remove_file(&shard).unwrap();
        assert!(run(&inputs, &seeded, &out, 1).unwrap().read.is_some());
        assert!(shard.exists());
        fs::write(out.join(LIST), b"{").unwrap();
        let error = Prepared::read(&out).unwrap_err().to_string();
        assert!(error.contains("data.json") && error.contains("prepare the data again"));
        assert!(run(&inputs, &seeded, &out, 1).unwrap().read.is_some());
    }

    #[test]
    fn a_list_that_leads_elsewhere_is_refused() {
        let folder = Folder::new("list");
        let inputs = corpus(&folder);
        let out = folder.0.join("out");
        run(&inputs, &Recipe { held_out: Some(0.1), ..Recipe::default() }, &out, 1).unwrap();
        let list = fs::read_to_string(out.join(LIST)).unwrap();
        for name in ["../../secret", "/etc/passwd", ""] {
            fs::write(out.join(LIST), list.replace("training-00000.tokens", name)).unwrap();
            let error = Prepared::read(&out).unwrap_err().to_string();
            assert!(error.contains("is no file's name"), "{error}");
        }
    }

    #[test]
    fn stopping_leaves_no_list() {
        let folder = Folder::new("stop");
        let inputs = corpus(&folder);
        let out = folder.0.join("out");
        let mut calls = 0;
        let stop = &mut |_: super::super::Progress| {
            calls += 1;
            if calls > 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let recipe = Recipe { shard_tokens: 1024, ..Recipe::default() };
        let inputs = &Inputs { training: &inputs, validation: &[] };
        let stopped = prepare(inputs, &recipe, &tokenizer(), &out, &ThreadPool::new(1), stop);
        assert!(matches!(stopped, Err(TrainError::Stopped)));
        assert!(Prepared::read(&out).is_err());
        // What was written before is whole, and goes when it is made again.
        assert!(fs::read_dir(&out).unwrap().count() > 3);
        let whole = Recipe { held_out: Some(0.1), ..Recipe::default() };
        run(inputs.training, &whole, &out, 1).unwrap();
        assert_eq!(fs::read_dir(&out).unwrap().count(), 3);
    }

    #[test]
    fn nothing_to_train_on_is_said_with_its_reason() {
        let folder = Folder::new("nothing");
        let input = folder.0.join("in");
        let out = folder.0.join("out");
        let check = |file: &str, bytes: &[u8], expected: &str| {
            fs::write(input.join(file), bytes).unwrap();
            let error = run(&[input.join(file)], &Recipe::default(), &out, 1).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        check("empty.txt", b"", "1 empty");
        check("binary", b"\x7fELF\0\0\0", "1 binary");
        check("short.txt", b"a word", "1 too short");
        check("one.txt", document(1).as_bytes(), "of 1 documents none is left for validation");
        let wrong = Recipe { held_out: Some(0.9), ..Recipe::default() };
        let error = run(&[input], &wrong, &out, 1).unwrap_err();
        assert!(error.to_string().contains("the share held out is 0.9"));
    }
}
