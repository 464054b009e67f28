//! What `tokenizer_config.json` adds: which tokens are special and by what name, and the chat
//! template. Source: the `transformers` library's `tokenization_utils_base.py`.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::added::AddedToken;
use crate::budget::Budget;
use crate::from_gguf::check_added;
use crate::json_stream::{Part, Text, invalid};
use crate::texts::TextBuilder;
use crate::{TextList, TokenId, TokenizerError, Vocabulary};

/// The parts in use.
#[derive(Default)]
pub(crate) struct Config {
    pub(crate) added: Added,
    names: Vec<(&'static str, String)>,
    add_bos: Option<bool>,
    add_eos: Option<bool>,
    chat_template: Option<String>,
}

const FILE: &str = "tokenizer_config.json";

/// The file's parts, in place.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Document<'a> {
    add_bos_token: Option<bool>,
    add_eos_token: Option<bool>,
    #[serde(borrow)]
    chat_template: Option<&'a RawValue>,
    bos_token: Option<&'a RawValue>,
    eos_token: Option<&'a RawValue>,
    unk_token: Option<&'a RawValue>,
    sep_token: Option<&'a RawValue>,
    pad_token: Option<&'a RawValue>,
    cls_token: Option<&'a RawValue>,
    mask_token: Option<&'a RawValue>,
    added_tokens_decoder: Option<&'a RawValue>,
}

impl Config {
    /// # Errors
    /// Not JSON, a part of the wrong kind, or more memory than the budget has.
    pub(crate) fn read(file: Option<&[u8]>, budget: &mut Budget) -> Result<Self, TokenizerError> {
        let Some(file) = file else { return Ok(Self::default()) };
        let whole = Part::whole(FILE, file)?;
        let it: Document<'_> = whole.read()?;
        let mut tree = |key, raw: Option<&_>| {
            raw.map_or(Ok(Value::Null), |raw| whole.inner(key, raw).tree(budget))
        };
        let mut config = Self {
            add_bos: it.add_bos_token,
            add_eos: it.add_eos_token,
            chat_template: template(&tree("chat_template", it.chat_template)?),
            ..Self::default()
        };
        for (role, raw) in [
            ("bos_token", it.bos_token),
            ("eos_token", it.eos_token),
            ("unk_token", it.unk_token),
            ("sep_token", it.sep_token),
            ("pad_token", it.pad_token),
            ("cls_token", it.cls_token),
            ("mask_token", it.mask_token),
        ] {
            let name = tree(role, raw)?;
            let name = name.as_str().or_else(|| name.get("content")?.as_str());
            config.names.extend(name.map(|name| (role, name.to_owned())));
        }
        if let Some(raw) = it.added_tokens_decoder {
            let part = whole.inner("added_tokens_decoder", raw);
            let mut list = AddedList::new(&part, budget)?;
            part.entries(&mut |id, entry: AddedEntry<'_>| {
                let id = id.parse();
                let id = id.map_err(|_| invalid(FILE, "added_tokens_decoder: a key is no id"))?;
                list.push(AddedEntry { id: Some(id), ..entry })
            })?;
            config.added = list.finish();
        }
        Ok(config)
    }

    /// Roles are filled in where the names are tokens; what the vocabulary already knows is
    /// replaced.
    pub(crate) fn apply(&self, vocabulary: &mut Vocabulary) {
        for (role, name) in &self.names {
            let id = vocabulary.tokens.position(name.as_bytes());
            let Some(id) = id.map(|id| id as TokenId) else { continue };
            let slot = match *role {
                "bos_token" => &mut vocabulary.bos,
                "eos_token" => &mut vocabulary.eos,
                "unk_token" => &mut vocabulary.unk,
                "sep_token" => &mut vocabulary.sep,
                "pad_token" => &mut vocabulary.pad,
                "cls_token" => &mut vocabulary.cls,
                _ => &mut vocabulary.mask,
            };
            *slot = Some(id);
        }
        vocabulary.add_bos = self.add_bos.or(vocabulary.add_bos);
        vocabulary.add_eos = self.add_eos.or(vocabulary.add_eos);
        if self.chat_template.is_some() {
            vocabulary.chat_template.clone_from(&self.chat_template);
        }
    }
}

/// One template, or the one called `default` among several.
fn template(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(named) => {
            let by_name = |name: &str| {
                named.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some(name))
            };
            let entry = by_name("default").or(named.first())?;
            Some(entry.get("template")?.as_str()?.to_owned())
        }
        _ => None,
    }
}

/// `{"content": .., "special": .., ..}`, with its id inside or as its key.
#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the flags are the file format's")]
pub(crate) struct AddedEntry<'a> {
    id: Option<TokenId>,
    #[serde(borrow)]
    content: Text<'a>,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    normalized: bool,
}

/// Added tokens and their texts.
#[derive(Default)]
pub(crate) struct Added {
    pub(crate) texts: TextList,
    pub(crate) tokens: Vec<AddedToken>,
}

/// Added tokens in the making, bounded.
pub(crate) struct AddedList {
    texts: TextBuilder,
    tokens: Vec<AddedToken>,
}

impl AddedList {
    /// For the entries of `part`.
    pub(crate) fn new(part: &Part<'_>, budget: &mut Budget) -> Result<Self, TokenizerError> {
        let count = part.count()?;
        // A text takes no more than its part of the file.
        let bytes = part.len().min(count.saturating_mul(crate::added::ADDED_BYTES_MAX));
        budget.charge("memory for added tokens", count, LIST_COST)?;
        budget.charge("memory for added tokens", bytes, 1)?;
        let texts = TextBuilder::with_capacity(count, bytes);
        Ok(Self { texts, tokens: Vec::with_capacity(count) })
    }

    /// Appends a token. One without text is skipped.
    pub(crate) fn push(&mut self, entry: AddedEntry<'_>) -> Result<(), TokenizerError> {
        let Text(content) = entry.content;
        let what = "added token";
        let id =
            entry.id.ok_or(TokenizerError::Missing { what, expected: "an integer in `id`" })?;
        check_added(content.as_bytes())?;
        if !content.is_empty() {
            self.tokens.push(AddedToken {
                id,
                text: self.tokens.len() as u32,
                special: entry.special,
                lstrip: entry.lstrip,
                rstrip: entry.rstrip,
                single_word: entry.single_word,
                normalized: entry.normalized,
            });
            self.texts.push(content.as_bytes());
        }
        Ok(())
    }

    /// The tokens.
    pub(crate) fn finish(self) -> Added {
        Added { texts: self.texts.finish(), tokens: self.tokens }
    }
}

/// An added token in the list, beside its text.
const LIST_COST: usize = size_of::<AddedToken>() + size_of::<u32>();
