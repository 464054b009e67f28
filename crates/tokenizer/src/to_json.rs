//! A vocabulary of byte-level BPE as `tokenizer.json` and `tokenizer_config.json`, the reverse of
//! `to_gguf`. Source of the format: the `tokenizers` library's serialisation.
//!
//! Invariant: what reads the file encodes every text to the same ids. What has no such form is
//! refused.

use serde_json::{Map, Value, json};

use crate::error::excerpt;
use crate::family::Family;
use crate::model::Model;
use crate::{TokenId, TokenKind, Tokenizer, TokenizerError, Vocabulary};

/// The parts of a file that differ between vocabularies.
pub(crate) struct Document<'a> {
    /// Text and id of each token that is matched before everything else, and whether it is control.
    pub(crate) added: Vec<(&'a str, TokenId, Special)>,
    pub(crate) vocab: Map<String, Value>,
    /// In order of rank.
    pub(crate) merges: Vec<[&'a str; 2]>,
    /// Before and behind a text.
    pub(crate) around: [Vec<(&'a str, TokenId)>; 2],
    pub(crate) pre_tokenizer: Value,
    /// A word that is a token is that token.
    pub(crate) ignore_merges: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    Yes,
    No,
}

impl Document<'_> {
    pub(crate) fn into_json(self) -> Value {
        let added = self.added.iter().map(|&(content, id, special)| {
            json!({
                "id": id, "content": content, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": special == Special::Yes
            })
        });
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added.collect::<Vec<_>>(),
            "normalizer": null,
            "pre_tokenizer": self.pre_tokenizer,
            "post_processor": template(&self.around),
            "decoder": {
                "type": "ByteLevel", "add_prefix_space": true,
                "trim_offsets": true, "use_regex": true
            },
            "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": null,
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": false,
                "byte_fallback": false,
                "ignore_merges": self.ignore_merges,
                "vocab": self.vocab,
                "merges": self.merges
            }
        })
    }
}

/// A post-processor that puts these tokens around a text, and around the second of a pair.
fn template(around: &[Vec<(&str, TokenId)>; 2]) -> Value {
    let [before, behind] = around;
    if before.is_empty() && behind.is_empty() {
        return Value::Null;
    }
    let side = |name: &str, kind: u8| -> Vec<Value> {
        let token =
            |&(text, _): &(&str, TokenId)| json!({"SpecialToken": {"id": text, "type_id": kind}});
        let text = json!({"Sequence": {"id": name, "type_id": kind}});
        before.iter().map(token).chain([text]).chain(behind.iter().map(token)).collect()
    };
    let special: Map<String, Value> = before
        .iter()
        .chain(behind)
        .map(|&(text, id)| (text.to_owned(), json!({"id": text, "ids": [id], "tokens": [text]})))
        .collect();
    let pair = [side("A", 0), side("B", 1)].concat();
    json!({
        "type": "TemplateProcessing",
        "single": side("A", 0),
        "pair": pair,
        "special_tokens": special
    })
}

/// The part `pre_tokenizer` that cuts text where these patterns match.
pub(crate) fn pre_tokenizer(patterns: impl IntoIterator<Item = String>) -> Value {
    let mut parts: Vec<Value> = patterns
        .into_iter()
        .map(|pattern| {
            json!({
                "type": "Split", "pattern": {"Regex": pattern},
                "behavior": "Isolated", "invert": false
            })
        })
        .collect();
    parts.push(byte_level(Words::AsTheyAre));
    json!({"type": "Sequence", "pretokenizers": parts})
}

/// What the step into the byte alphabet does besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Words {
    /// Cuts as GPT-2 does.
    Gpt2,
    /// Nothing.
    AsTheyAre,
}

/// The part `pre_tokenizer` for the byte alphabet.
pub(crate) fn byte_level(words: Words) -> Value {
    json!({
        "type": "ByteLevel", "add_prefix_space": false,
        "trim_offsets": true, "use_regex": words == Words::Gpt2
    })
}

impl Tokenizer {
    /// The text of a `tokenizer.json` that gives the same ids: for byte-level BPE whose
    /// pre-tokenizer is named as GGUF names it.
    ///
    /// # Errors
    /// `Unsupported` for another model, pre-tokenizer or normalizer; `BadEntry` for a token that
    /// is no text.
    pub fn to_tokenizer_json(&self) -> Result<String, TokenizerError> {
        let pipeline = &self.pipeline;
        let v = &self.vocabulary;
        let unsupported = |what, name: &str| TokenizerError::Unsupported {
            what,
            name: name.to_owned(),
            supported: "byte-level BPE with a named pre-tokenizer",
        };
        let Model::Bpe(model) = &pipeline.model else {
            return Err(unsupported("as tokenizer.json, the model", &excerpt(v.model.as_bytes())));
        };
        if v.model != "gpt2" || !pipeline.normalizers.is_empty() {
            return Err(unsupported("as tokenizer.json, the model", &excerpt(v.model.as_bytes())));
        }
        let name = v.pre.as_deref().unwrap_or("");
        let family = Family::named(name).and_then(|it| Some((it, it.pre_tokenizer()?)));
        let Some((family, pre_tokenizer)) = family else {
            let name = excerpt(name.as_bytes());
            return Err(unsupported("as tokenizer.json, the pre-tokenizer", &name));
        };
        let mut texts = Vec::with_capacity(v.tokens.len());
        for index in 0..v.tokens.len() {
            texts.push(text(v, index)?);
        }
        let named = |ids: &[TokenId]| -> Vec<(&str, TokenId)> {
            ids.iter().map(|&id| (texts[id as usize], id)).collect()
        };
        let added = (0..texts.len() as TokenId).filter_map(|id| match v.kind(id) {
            TokenKind::Control | TokenKind::Unknown => Some((texts[id as usize], id, Special::Yes)),
            TokenKind::UserDefined => Some((texts[id as usize], id, Special::No)),
            _ => None,
        });
        let document = Document {
            added: added.collect(),
            vocab: texts.iter().zip(0_u32..).map(|(&it, id)| (it.to_owned(), id.into())).collect(),
            merges: model
                .merges_by_rank()
                .map(|merge| [texts[merge.left as usize], texts[merge.right as usize]])
                .collect(),
            around: [named(&pipeline.prefix), named(&pipeline.suffix)],
            pre_tokenizer,
            ignore_merges: family.ignore_merges,
        };
        Ok(document.into_json().to_string() + "\n")
    }

    /// The text of a `tokenizer_config.json` beside it, for a model of so many positions: which
    /// tokens have a role, and the chat template.
    pub fn to_tokenizer_config(&self, positions: Option<u64>, template: Option<&str>) -> String {
        let v = &self.vocabulary;
        let mut config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": false,
        });
        if let Some(positions) = positions {
            config["model_max_length"] = positions.into();
        }
        let roles = [
            ("bos_token", v.bos),
            ("eos_token", v.eos),
            ("unk_token", v.unk),
            ("sep_token", v.sep),
            ("pad_token", v.pad),
            ("cls_token", v.cls),
            ("mask_token", v.mask),
        ];
        for (role, id) in roles {
            let text = id.and_then(|id| text(v, id as usize).ok());
            if let Some(text) = text {
                config[role] = text.into();
            }
        }
        if let Some(template) = template {
            config["chat_template"] = template.into();
        }
        format!("{config:#}\n")
    }
}

fn text(vocabulary: &Vocabulary, index: usize) -> Result<&str, TokenizerError> {
    let bytes = &vocabulary.tokens[index];
    std::str::from_utf8(bytes).map_err(|_| TokenizerError::BadEntry {
        what: "tokenizer.ggml.tokens entry",
        index,
        found: format!("{:?}", excerpt(bytes)),
        expected: "UTF-8",
    })
}

#[cfg(test)]
mod tests {
    use crate::{AddSpecial, ParseSpecial, TextList, Tokenizer, TokenizerError, Vocabulary};

    /// All bytes, `th`, `the`, a begin and an end token, and an added one.
    fn vocabulary(pre: &str) -> Vocabulary {
        use crate::TokenKind::{Control, Normal, UserDefined};
        let bytes = (0..=255).map(|byte| crate::unicode::byte_to_char(byte).to_string());
        let more = ["th", "the", "<|bos|>", "<|eos|>", "[tag]"].map(str::to_owned);
        let tokens: Vec<String> = bytes.chain(more).collect();
        Vocabulary {
            model: "gpt2".to_owned(),
            pre: Some(pre.to_owned()),
            kinds: (0..261)
                .map(|id| match id {
                    258 | 259 => Control,
                    260 => UserDefined,
                    _ => Normal,
                })
                .collect(),
            tokens: tokens.iter().collect::<TextList>(),
            merges: ["t h", "th e"].into_iter().collect(),
            bos: Some(258),
            eos: Some(259),
            add_bos: Some(true),
            ..Vocabulary::default()
        }
    }

    #[test]
    fn what_is_written_reads_back_as_the_same_tokenizer() {
        let text = "the thé [tag] 12345, <|eos|>\n\n  it's\t\u{4e2d}".as_bytes();
        for pre in ["dbrx", "llama-bpe", "qwen2", "gpt-2", "gpt-4o", "tekken", "starcoder"] {
            let ours = Tokenizer::new(vocabulary(pre)).unwrap();
            let json = ours.to_tokenizer_json().unwrap();
            let config = ours.to_tokenizer_config(Some(64), None);
            let back = Tokenizer::from_tokenizer_json(json.as_bytes(), Some(config.as_bytes()));
            let back = back.unwrap();
            for add in [AddSpecial::Yes, AddSpecial::No] {
                for special in [ParseSpecial::Yes, ParseSpecial::No] {
                    let ids = ours.encode(text, &[], add, special);
                    assert_eq!(back.encode(text, &[], add, special), ids, "{pre}");
                    assert_eq!(ids[0] == 258, add == AddSpecial::Yes);
                    assert!(ids.contains(&257) && ids.contains(&260), "{pre}: {ids:?}");
                    assert_eq!(ids.contains(&259), special == ParseSpecial::Yes);
                }
            }
            assert_eq!((back.bos(), back.eos()), (Some(258), Some(259)));
            // The names of the pre-tokenizer are those of one family.
            let family = |name: Option<&str>| crate::family::Family::named(name.unwrap());
            let names = |it: &Tokenizer| family(it.vocabulary().pre.as_deref()).unwrap().names;
            assert_eq!(names(&back), names(&ours));
        }
    }

    #[test]
    fn what_has_no_such_form_is_refused() {
        let refused = |vocabulary: Vocabulary, word: &str| {
            let error = Tokenizer::new(vocabulary).unwrap().to_tokenizer_json().unwrap_err();
            assert!(matches!(error, TokenizerError::Unsupported { .. }), "{error}");
            assert!(error.to_string().contains(word), "{error}");
        };
        refused(vocabulary("superbpe"), "superbpe");
        refused(Vocabulary { pre: None, ..vocabulary("dbrx") }, "pre-tokenizer");
        let pieces = (0..256).map(|byte| format!("<0x{byte:02X}>"));
        let tokens: Vec<String> = std::iter::once("<unk>".to_owned()).chain(pieces).collect();
        let sentencepiece = Vocabulary {
            model: "llama".to_owned(),
            tokens: tokens.iter().collect::<TextList>(),
            scores: vec![0.0; 257],
            ..Vocabulary::default()
        };
        refused(sentencepiece, "llama");
        let whole = vocabulary("dbrx");
        let tokens = whole.tokens.iter().map(|it| if it == b"the" { b"\xFF" } else { it });
        let tokens = tokens.collect::<TextList>();
        let broken = Vocabulary { tokens, merges: ["t h"].into_iter().collect(), ..whole };
        let error = Tokenizer::new(broken).unwrap().to_tokenizer_json().unwrap_err();
        assert!(matches!(error, TokenizerError::BadEntry { index: 257, .. }), "{error}");
    }
}
