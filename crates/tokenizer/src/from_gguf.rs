//! A vocabulary in GGUF's terms to a tokenizer. Source: llama.cpp's `llama-vocab.cpp` for defaults,
//! for the names that end an answer, and for what each `tokenizer.ggml.model` means.

use std::sync::Arc;

use crate::added::{ADDED_BYTES_MAX, AddedSet, AddedToken};
use crate::budget::Budget;
use crate::charsmap::Charsmap;
use crate::error::excerpt;
use crate::family::Family;
use crate::index::TokenIndex;
use crate::model::{Bpe, BpeSettings, Model, ScoredBpe, TOKENS, Unigram, WordPiece};
use crate::normalize::Normalizer;
use crate::pattern::Pattern;
use crate::spaces::SpaceCut;
use crate::spelling::Spelling;
use crate::split::{Behavior, Step};
use crate::tokenizer::Pipeline;
use crate::{TokenId, TokenKind, Tokenizer, TokenizerError, Vocabulary};

/// Names that end an answer in some model.
const END_NAMES: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// A `Vocabulary` checked and completed.
pub(crate) struct Prepared {
    pub(crate) vocabulary: Vocabulary,
    pub(crate) warnings: Vec<String>,
    pub(crate) ids: TokenIndex,
    ends: Vec<TokenId>,
}

impl Prepared {
    /// Lengths, ids and duplicates are checked, absent kinds filled in, the tokens that end an
    /// answer found.
    pub(crate) fn new(
        mut vocabulary: Vocabulary,
        budget: &mut Budget,
    ) -> Result<Self, TokenizerError> {
        vocabulary.check()?;
        let missing = vocabulary.tokens.len() - vocabulary.kinds.len();
        budget.charge(TOKENS, missing, size_of::<TokenKind>())?;
        budget.charge(TOKENS, vocabulary.tokens.len(), TokenIndex::COST)?;
        let ids = TokenIndex::new(&vocabulary.tokens).map_err(|(first, second)| {
            let text = excerpt(&vocabulary.tokens[first as usize]);
            TokenizerError::DuplicateToken { text, first, second }
        })?;
        vocabulary.kinds.reserve_exact(missing);
        vocabulary.kinds.resize(vocabulary.tokens.len(), TokenKind::Normal);
        let ends = ends(&mut vocabulary, &ids);
        Ok(Self { vocabulary, warnings: Vec::new(), ids, ends })
    }

    pub(crate) fn id(&self, text: &str) -> Option<TokenId> {
        self.ids.id(text.as_bytes())
    }

    /// Whether an answer may end with this token.
    pub(crate) fn finish(self, pipeline: Pipeline) -> Tokenizer {
        let Self { vocabulary, warnings, ids, ends } = self;
        Tokenizer { vocabulary, warnings, pipeline, ids, ends }
    }
}

fn ends(vocabulary: &mut Vocabulary, ids: &TokenIndex) -> Vec<TokenId> {
    let id = |name: &str| ids.id(name.as_bytes());
    let mut ends: Vec<TokenId> = END_NAMES.iter().filter_map(|name| id(name)).collect();
    // Harmony: a call ends the turn, a message does not. Elsewhere `<|call|>` opens one.
    let calls = if id("<|return|>").is_some() { id("<|call|>") } else { id("<|calls|>") };
    if calls.is_some() && (id("<|return|>").is_some() || id("<|flush|>").is_some()) {
        ends.extend(calls);
        ends.retain(|&end| Some(end) != id("<|end|>"));
    }
    if id("<|tool_response>").is_some() {
        ends.retain(|&end| Some(end) != id("</s>"));
    }
    for &end in &ends {
        let kind = &mut vocabulary.kinds[end as usize];
        if matches!(kind, TokenKind::Normal | TokenKind::UserDefined) {
            *kind = TokenKind::Control;
        }
    }
    ends.extend([vocabulary.eos, vocabulary.eot, vocabulary.eom].into_iter().flatten());
    ends.sort_unstable();
    ends.dedup();
    ends
}

/// The tokenizer that llama.cpp would build.
pub(crate) fn build(
    mut vocabulary: Vocabulary,
    budget: &mut Budget,
) -> Result<Tokenizer, TokenizerError> {
    default_ids(&mut vocabulary);
    let mut prepared = Prepared::new(vocabulary, budget)?;
    let pipeline = match prepared.vocabulary.model.as_str() {
        "gpt2" | "gemma4" => byte_pairs(&mut prepared, budget)?,
        "llama" | "t5" => marked(&mut prepared, budget)?,
        "bert" => word_pieces(&mut prepared, budget)?,
        other => {
            return Err(TokenizerError::Unsupported {
                what: "tokenizer.ggml.model",
                name: excerpt(other.as_bytes()),
                supported: "gpt2, llama, t5, bert, gemma4",
            });
        }
    };
    Ok(prepared.finish(pipeline))
}

/// The ids that files of each kind leave out, where they exist.
fn default_ids(vocabulary: &mut Vocabulary) {
    let len = vocabulary.tokens.len();
    let control = |id: TokenId| {
        ((id as usize) < len
            && (vocabulary.kinds.is_empty() || vocabulary.kind(id) != TokenKind::Normal))
            .then_some(id)
    };
    let v = vocabulary.clone_ids();
    let [bos, eos, unk, sep, pad] = match vocabulary.model.as_str() {
        "llama" => [control(1), control(2), control(0), None, None],
        "bert" => [Some(101), None, Some(100), Some(102), Some(0)]
            .map(|id| id.filter(|&id| (id as usize) < len)),
        "t5" => [None, control(1), control(2), None, control(0)],
        "gpt2" if vocabulary.kinds.get(11) == Some(&TokenKind::Control) => {
            [Some(11), Some(11), None, None, None]
        }
        _ => [None; 5],
    };
    let bos = if vocabulary.model == "bert" { vocabulary.cls.or(bos) } else { bos };
    vocabulary.bos = v[0].or(bos);
    vocabulary.eos = v[1].or(eos);
    vocabulary.unk = v[2].or(unk);
    vocabulary.sep = v[3].or(sep);
    vocabulary.pad = v[4].or(pad);
}

impl Vocabulary {
    fn clone_ids(&self) -> [Option<TokenId>; 5] {
        [self.bos, self.eos, self.unk, self.sep, self.pad]
    }
}

/// Control and user-defined tokens, as GGUF keeps them: without flags.
fn added(vocabulary: &Vocabulary, budget: &mut Budget) -> Result<Arc<AddedSet>, TokenizerError> {
    let special = |id: TokenId| match vocabulary.kind(id) {
        TokenKind::Control | TokenKind::Unknown => Some(true),
        TokenKind::UserDefined => Some(false),
        _ => None,
    };
    let ids = || (0..vocabulary.tokens.len() as TokenId).filter_map(|id| Some((id, special(id)?)));
    let count = ids().count();
    budget.charge("memory for tokenizer.ggml.token_type", count, AddedSet::COST)?;
    let mut tokens = Vec::with_capacity(count);
    for (id, special) in ids() {
        check_added(&vocabulary.tokens[id as usize])?;
        tokens.push(AddedToken { id, text: id, special, ..AddedToken::default() });
    }
    Ok(Arc::new(AddedSet::new(&vocabulary.tokens, tokens)))
}

/// Bounds the text of an added token.
pub(crate) fn check_added(content: &[u8]) -> Result<(), TokenizerError> {
    if content.len() > ADDED_BYTES_MAX {
        let what = "length of an added token";
        return Err(TokenizerError::Limit { what, found: content.len(), limit: ADDED_BYTES_MAX });
    }
    Ok(())
}

/// What goes around a text. A setting without its token is a warning.
fn around(
    prepared: &mut Prepared,
    add_bos: bool,
    add_eos: bool,
    add_sep: bool,
) -> [Vec<TokenId>; 2] {
    let v = &prepared.vocabulary;
    let wants = [
        ("begin-of-text", v.add_bos.unwrap_or(add_bos), v.bos, v.add_bos.is_some()),
        ("separator", v.add_sep.unwrap_or(add_sep), v.sep, v.add_sep.is_some()),
        ("end-of-text", v.add_eos.unwrap_or(add_eos), v.eos, v.add_eos.is_some()),
    ];
    let mut sides = [Vec::new(), Vec::new()];
    for (index, (name, wanted, id, asked)) in wants.into_iter().enumerate() {
        match id {
            Some(id) if wanted => sides[usize::from(index > 0)].push(id),
            None if wanted && asked => {
                prepared
                    .warnings
                    .push(format!("the vocabulary asks for a {name} token and names none"));
            }
            _ => {}
        }
    }
    sides
}

fn byte_pairs(prepared: &mut Prepared, budget: &mut Budget) -> Result<Pipeline, TokenizerError> {
    let name = match prepared.vocabulary.model.as_str() {
        "gemma4" => Some("gemma4"),
        _ => prepared.vocabulary.pre.as_deref(),
    };
    let family = name.and_then(Family::named).unwrap_or_else(|| {
        let named = name.map_or("no pre-tokenizer is named".to_owned(), |name| {
            format!("the pre-tokenizer {:?} is unknown", excerpt(name.as_bytes()))
        });
        prepared.warnings.push(format!("{named}; using `default`, words may be cut differently"));
        Family::fallback()
    });
    let [prefix, suffix] = around(prepared, family.add_bos, false, false);
    let v = &prepared.vocabulary;
    let settings = BpeSettings {
        byte_level: !family.marked,
        byte_fallback: family.marked,
        ignore_merges: family.ignore_merges,
        unk: if family.marked { v.unk } else { None },
        ..BpeSettings::default()
    };
    let normalizers = if family.marked { vec![mark_spaces()] } else { Vec::new() };
    let steps = family.steps(budget)?;
    let all = added(v, budget)?;
    Ok(Pipeline {
        raw: Arc::clone(&all),
        normalized: AddedSet::default(),
        all,
        normalizers,
        steps,
        model: Model::Bpe(Bpe::new(v, &prepared.ids, settings, budget)?),
        cut: if family.marked { SpaceCut::new(v) } else { None },
        prefix,
        suffix,
        spelling: if family.marked { Spelling::Marked } else { Spelling::ByteLevel },
        leading_space: false,
    })
}

/// Spaces to U+2581.
pub(crate) fn mark_spaces() -> Normalizer {
    Normalizer::Replace {
        pattern: Pattern::Literal(" ".to_owned()),
        content: "\u{2581}".to_owned(),
    }
}

/// SentencePiece's two models.
fn marked(prepared: &mut Prepared, budget: &mut Budget) -> Result<Pipeline, TokenizerError> {
    let unigram = prepared.vocabulary.model == "t5";
    let [prefix, suffix] = around(prepared, !unigram, unigram, false);
    let v = &prepared.vocabulary;
    let mut normalizers = Vec::new();
    if let Some(blob) = v.precompiled_charsmap.as_deref().filter(|blob| !blob.is_empty()) {
        normalizers.push(Normalizer::Charsmap(Charsmap::new(blob)?));
    }
    if v.remove_extra_whitespaces == Some(true) {
        normalizers.push(Normalizer::CollapseSpaces);
    }
    let leading_space = v.add_space_prefix.unwrap_or(true);
    if leading_space {
        normalizers.push(Normalizer::Prepend(" ".to_owned()));
    }
    normalizers.push(mark_spaces());
    let all = added(v, budget)?;
    let model = if unigram {
        let fallback = v.kinds.contains(&TokenKind::Byte);
        Model::Unigram(Unigram::new(v, fallback, budget)?)
    } else {
        Model::Scored(ScoredBpe::new(v, budget)?)
    };
    Ok(Pipeline {
        raw: Arc::clone(&all),
        normalized: AddedSet::default(),
        all,
        normalizers,
        steps: Vec::new(),
        model,
        cut: SpaceCut::new(v),
        prefix,
        suffix,
        spelling: Spelling::Marked,
        leading_space,
    })
}

fn word_pieces(prepared: &mut Prepared, budget: &mut Budget) -> Result<Pipeline, TokenizerError> {
    let [prefix, suffix] = around(prepared, true, false, true);
    let v = &prepared.vocabulary;
    let lowercase = v.lowercase.unwrap_or(true);
    let strip_accents = v.strip_accents.unwrap_or(lowercase);
    let all = added(v, budget)?;
    Ok(Pipeline {
        raw: Arc::clone(&all),
        normalized: AddedSet::default(),
        all,
        normalizers: vec![Normalizer::Bert {
            clean: true,
            chinese: true,
            strip_accents,
            lowercase,
        }],
        steps: bert_steps(),
        model: Model::WordPiece(WordPiece::new(v, 100, budget)?),
        cut: None,
        prefix,
        suffix,
        spelling: Spelling::WordPiece,
        leading_space: true,
    })
}

/// White space goes, punctuation stands alone.
pub(crate) fn bert_steps() -> Vec<Step> {
    let step = |pattern, behavior| Step::Split {
        pattern: Pattern::Char(pattern),
        behavior,
        invert: false,
    };
    vec![
        step(char::is_whitespace, Behavior::Removed),
        step(crate::unicode::is_punctuation, Behavior::Isolated),
    ]
}
