//! Hugging Face's `tokenizer.json`. Source: the `tokenizers` library's serialisation of its
//! components. Parsing keeps serde_json's depth limit, so that nested components cannot exhaust the
//! stack.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::added::{AddedSet, AddedToken};
use crate::family::Family;
use crate::from_config::{AddedEntry, AddedList, Config};
use crate::from_gguf::Prepared;
use crate::json_model::ModelPart;
use crate::json_parts::{Decoding, decoding, normalizers, post_processor, steps};
use crate::json_stream::{Budget, Part};
use crate::model::{Bpe, BpeSettings, Model, Unigram, WordLevel, WordPiece};
use crate::spaces::SpaceCut;
use crate::spelling::Spelling;
use crate::split::Step;
use crate::to_gguf::{self, Source};
use crate::tokenizer::Pipeline;
use crate::{TokenId, Tokenizer, TokenizerError, Vocabulary};

pub(crate) const FILE: &str = "tokenizer.json";

/// The file's parts, in place.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Document<'a> {
    #[serde(borrow)]
    added_tokens: Option<&'a RawValue>,
    normalizer: Option<&'a RawValue>,
    pre_tokenizer: Option<&'a RawValue>,
    post_processor: Option<&'a RawValue>,
    decoder: Option<&'a RawValue>,
    model: Option<&'a RawValue>,
}

/// The tokenizer of the file, `tokenizer_config.json` beside it.
pub(crate) fn read(
    json: &[u8],
    tokenizer_config: Option<&[u8]>,
) -> Result<Tokenizer, TokenizerError> {
    let whole = Part::whole(FILE, json);
    let document: Document<'_> = whole.read()?;
    let mut budget = Budget::new(json.len());
    let config = Config::read(tokenizer_config)?;
    let tree =
        |key, raw: Option<&_>| raw.map_or(Ok(Value::Null), |raw| whole.inner(key, raw).tree());
    let normalizer = tree("normalizer", document.normalizer)?;
    let pre_tokenizer = tree("pre_tokenizer", document.pre_tokenizer)?;
    let decoder = tree("decoder", document.decoder)?;
    let post = tree("post_processor", document.post_processor)?;
    let model = ModelPart::read(&whole, document.model)?;
    let added = added_tokens(&whole, document.added_tokens, &mut budget)?;
    let decoding = decoding(&[&decoder, &pre_tokenizer, &normalizer]);
    let mut vocabulary = model.vocabulary(&added, &mut budget)?;
    let normalizing = normalizers(&normalizer)?;
    let cuts = steps(&pre_tokenizer)?;
    vocabulary.pre = cuts.names(model.settings.ignore_merges == Some(true));
    let sides = post_processor(&post, vocabulary.tokens.len())?;
    around(&mut vocabulary, &sides);
    config.apply(&mut vocabulary);
    let mut prepared = Prepared::new(vocabulary)?;
    let spelling = decoding.spelling(model.kind);
    let built = build_model(&model, &prepared, spelling, &cuts.steps)?;
    let source = Source {
        model: &model,
        spelling,
        normalizer: &normalizer,
        pre_tokenizer: &pre_tokenizer,
        added: &added,
        around: &sides,
    };
    to_gguf::fill(&mut prepared, &built.0, &source)?;
    let pipeline = assemble(built, added, normalizing, cuts.steps, sides, &decoding, spelling);
    Ok(prepared.finish(pipeline))
}

fn assemble(
    (model, cut): (Model, Option<SpaceCut>),
    added: Vec<AddedToken>,
    normalizers: Vec<crate::normalize::Normalizer>,
    steps: Vec<Step>,
    [prefix, suffix]: [Vec<TokenId>; 2],
    decoding: &Decoding,
    spelling: Spelling,
) -> Pipeline {
    let all = AddedSet::new(added.clone());
    // Without normalizers the text after normalization is the text.
    let after = |token: &AddedToken| token.normalized && !normalizers.is_empty();
    let (late, early): (Vec<_>, Vec<_>) = added.into_iter().partition(after);
    let late = late.into_iter().map(|mut token| {
        let text = String::from_utf8_lossy(&token.content).into_owned();
        let text =
            normalizers.iter().fold(text.into(), |text, normalizer| normalizer.apply(text, false));
        token.content = text.as_bytes().into();
        token
    });
    let late: Vec<AddedToken> = late.collect();
    Pipeline {
        raw: AddedSet::new(early),
        normalized: AddedSet::new(late),
        all,
        normalizers,
        steps,
        model,
        cut,
        prefix,
        suffix,
        spelling,
        leading_space: decoding.leading_space || spelling == Spelling::WordPiece,
    }
}

fn added_tokens<'a>(
    whole: &Part<'a>,
    raw: Option<&'a RawValue>,
    budget: &mut Budget,
) -> Result<Vec<AddedToken>, TokenizerError> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    let part = whole.inner("added_tokens", raw);
    let mut list = AddedList::new(&part, budget)?;
    part.each(&mut |_, entry: AddedEntry<'_>| list.push(entry))?;
    Ok(list.finish())
}

/// What the post-processor puts around a text, as the vocabulary's settings.
fn around(vocabulary: &mut Vocabulary, [prefix, suffix]: &[Vec<TokenId>; 2]) {
    vocabulary.bos = prefix.first().copied();
    vocabulary.add_bos = Some(!prefix.is_empty());
    vocabulary.add_eos = Some(!suffix.is_empty());
    vocabulary.eos = suffix.last().copied();
    let id = |name: &str| vocabulary.tokens.iter().position(|text| text == name.as_bytes());
    if vocabulary.eos.is_none() {
        let known = ["</s>", "<|end_of_text|>", "<|endoftext|>", "<eos>"];
        vocabulary.eos = known.iter().find_map(|name| id(name)).map(|id| id as TokenId);
    }
    vocabulary.cls = id("[CLS]").map(|id| id as TokenId);
    vocabulary.sep = id("[SEP]").map(|id| id as TokenId);
}

fn build_model(
    model: &ModelPart<'_>,
    prepared: &Prepared,
    spelling: Spelling,
    steps: &[Step],
) -> Result<(Model, Option<SpaceCut>), TokenizerError> {
    let v = &prepared.vocabulary;
    let it = &model.settings;
    let is = |flag: Option<bool>| flag == Some(true);
    let unk = v.unk.or_else(|| prepared.id(model.unk_name()));
    Ok(match model.kind {
        "BPE" => {
            let byte_level = steps.iter().any(|step| matches!(step, Step::ByteLevel { .. }));
            let settings = BpeSettings {
                byte_level,
                byte_fallback: is(it.byte_fallback),
                ignore_merges: is(it.ignore_merges),
                unk,
                fuse_unk: is(it.fuse_unk),
                continuing_prefix: it.continuing_subword_prefix.clone().unwrap_or_default(),
                word_suffix: it.end_of_word_suffix.clone().unwrap_or_default(),
            };
            let whole = !byte_level
                && !model.has_affixes()
                && !settings.ignore_merges
                && spelling == Spelling::Marked;
            let cut = if whole { SpaceCut::new(v) } else { None };
            (Model::Bpe(Bpe::new(v, &prepared.ids, settings)?), cut)
        }
        "Unigram" => (Model::Unigram(Unigram::new(v, is(it.byte_fallback))?), SpaceCut::new(v)),
        "WordPiece" => (Model::WordPiece(WordPiece::new(v, model.chars_max())), None),
        _ => (Model::WordLevel(WordLevel::new(v)), None),
    })
}

/// The name of a family, for `Vocabulary::pre`.
pub(crate) fn family_name(patterns: &[String], ignore_merges: bool) -> Option<String> {
    Family::of_patterns(patterns, ignore_merges).map(|family| family.names[0].to_owned())
}
