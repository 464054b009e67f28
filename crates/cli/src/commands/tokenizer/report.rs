//! `lucid tokenizer report TOKENIZER FILES`: how well a vocabulary suits texts.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lucid_sys::Bytes;
use lucid_tokenizer::train::Input;
use lucid_tokenizer::{AddSpecial, Encoder, ParseSpecial, TokenId, Tokenizer};

use super::args::{Grouping, ReportArgs};
use super::files::{self, Binary, Documents, Text};
use super::report_print;
use crate::bar::Bar;
use crate::env::Environment;
use crate::{interrupt, load};

/// A longer text is encoded in parts that end with a line.
const PART_BYTES: usize = 32 << 20;

/// What one kind of text comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) texts: u64,
    pub(super) bytes: u64,
    pub(super) characters: u64,
    /// Runs of anything but white space.
    pub(super) words: u64,
    pub(super) tokens: u64,
    /// Tokens that are one byte of a longer character.
    pub(super) bytes_alone: u64,
}

impl Kind {
    pub(super) fn add(&mut self, other: &Self) {
        self.texts += other.texts;
        self.bytes += other.bytes;
        self.characters += other.characters;
        self.words += other.words;
        self.tokens += other.tokens;
        self.bytes_alone += other.bytes_alone;
    }
}

/// What is reported.
pub(super) struct Report {
    pub(super) kinds: BTreeMap<String, Kind>,
    pub(super) all: Kind,
    /// Occurrences by id.
    pub(super) uses: Vec<u64>,
    pub(super) encoding: Duration,
}

pub(super) fn run(args: &ReportArgs, environment: &Environment) -> Result<i32> {
    interrupt::install();
    let tokenizer = tokenizer(&args.tokenizer, environment)?;
    let binary = if args.binary { Binary::Keep } else { Binary::Refuse };
    let texts = files::find(&args.inputs, binary)?;
    let by = args.by.unwrap_or(match args.inputs.len() {
        1 => Grouping::Extension,
        _ => Grouping::Input,
    });
    let name = |text: &Text| match by {
        Grouping::Input => args.inputs[text.input].display().to_string(),
        Grouping::Extension => {
            let extension = text.path.extension();
            extension.map_or("none".to_owned(), |it| format!(".{}", it.to_string_lossy()))
        }
    };
    let report = measure(&tokenizer, &texts, &name)?;
    if args.json {
        report_print::json(&tokenizer, &report, args.top)?;
    } else {
        report_print::table(&tokenizer, &report, args.top, environment)?;
    }
    Ok(0)
}

/// A vocabulary by itself, or that of a model.
fn tokenizer(name: &str, environment: &Environment) -> Result<Tokenizer> {
    let path = Path::new(name);
    let inside = path.join("tokenizer.json");
    let path = if inside.is_file() { inside.as_path() } else { path };
    let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
    if path.is_file() && ["json", "model"].contains(&extension.as_str()) {
        let bytes = Bytes::map(path).with_context(|| format!("cannot read {}", path.display()))?;
        let read = match extension.as_str() {
            "json" => Tokenizer::from_tokenizer_json(&bytes, None),
            _ => Tokenizer::from_sentencepiece(&bytes),
        };
        return read.with_context(|| format!("the vocabulary file {}", path.display()));
    }
    load::tokenizer(&load::checkpoint(environment, name)?, None)
        .map_err(|error| anyhow::Error::new(error).context(format!("the vocabulary of {name}")))
}

fn measure(
    tokenizer: &Tokenizer,
    texts: &[Text],
    name: &dyn Fn(&Text) -> String,
) -> Result<Report> {
    let total = texts.iter().map(|text| text.bytes).sum();
    let mut meter = Meter {
        tokenizer,
        encoder: tokenizer.encoder(),
        uses: vec![0; tokenizer.len()],
        ids: Vec::new(),
        encoding: Duration::ZERO,
    };
    let (mut kinds, mut all) = (BTreeMap::<String, Kind>::new(), Kind::default());
    let mut bar = Bar::new("encoding");
    let mut documents = Documents::new(texts);
    for text in texts {
        let mut kind = Kind { texts: 1, ..Kind::default() };
        let mut held = Vec::new();
        loop {
            match documents.next().transpose()? {
                Some(Input::Bytes(bytes)) => held.extend_from_slice(&bytes),
                Some(Input::End) | None => break,
            }
            if held.len() >= PART_BYTES {
                let line = held.iter().rposition(|&byte| byte == b'\n');
                let rest = held.split_off(line.map_or(held.len(), |at| at + 1));
                meter.part(&held, &mut kind);
                held = rest;
            }
            bar.show(all.bytes + kind.bytes + held.len() as u64, total);
        }
        meter.part(&held, &mut kind);
        all.add(&kind);
        kinds.entry(name(text)).or_default().add(&kind);
    }
    bar.clear();
    files::warn_of_broken(&documents.broken);
    Ok(Report { kinds, all, uses: meter.uses, encoding: meter.encoding })
}

struct Meter<'a> {
    tokenizer: &'a Tokenizer,
    encoder: Encoder<'a>,
    uses: Vec<u64>,
    ids: Vec<TokenId>,
    encoding: Duration,
}

impl Meter<'_> {
    /// A text, or a part of one.
    fn part(&mut self, bytes: &[u8], kind: &mut Kind) {
        self.ids.clear();
        let started = Instant::now();
        self.encoder.encode(bytes, &[], AddSpecial::No, ParseSpecial::No, &mut self.ids);
        self.encoding += started.elapsed();
        kind.bytes += bytes.len() as u64;
        kind.tokens += self.ids.len() as u64;
        for chunk in bytes.utf8_chunks() {
            kind.characters += (chunk.valid().chars().count() + chunk.invalid().len()) as u64;
            kind.words += chunk.valid().split_whitespace().count() as u64;
        }
        for &id in &self.ids {
            self.uses[id as usize] += 1;
            let piece = self.tokenizer.piece(id).unwrap_or_default();
            kind.bytes_alone += u64::from(matches!(*piece, [0x80..=0xFF]));
        }
    }
}
