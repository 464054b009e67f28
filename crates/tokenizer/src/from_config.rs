//! What `tokenizer_config.json` adds: which tokens are special and by what name, and the chat
//! template. Source: the `transformers` library's `tokenization_utils_base.py`.

use serde_json::Value;

use crate::added::AddedToken;
use crate::from_gguf::check_added;
use crate::from_json::{invalid, parse};
use crate::{TokenId, TokenizerError, Vocabulary};

/// The parts in use.
#[derive(Default)]
pub(crate) struct Config {
    pub(crate) added: Vec<AddedToken>,
    names: Vec<(&'static str, String)>,
    add_bos: Option<bool>,
    add_eos: Option<bool>,
    chat_template: Option<String>,
}

const FILE: &str = "tokenizer_config.json";
const ROLES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

impl Config {
    pub(crate) fn read(file: Option<&[u8]>) -> Result<Self, TokenizerError> {
        let Some(file) = file else { return Ok(Self::default()) };
        let value = parse(FILE, file)?;
        let mut config = Self {
            add_bos: value.get("add_bos_token").and_then(Value::as_bool),
            add_eos: value.get("add_eos_token").and_then(Value::as_bool),
            chat_template: template(value.get("chat_template")),
            ..Self::default()
        };
        for role in ROLES {
            let name = value.get(role);
            let name =
                name.and_then(|name| name.as_str().or_else(|| name.get("content")?.as_str()));
            config.names.extend(name.map(|name| (role, name.to_owned())));
        }
        if let Some(added) = value.get("added_tokens_decoder").and_then(Value::as_object) {
            for (id, token) in added {
                let id = id
                    .parse()
                    .map_err(|_| invalid(FILE, "added_tokens_decoder: a key is no id"))?;
                config.added.push(added_token(FILE, id, token)?);
            }
        }
        Ok(config)
    }

    /// Roles are filled in where the names are tokens; what the vocabulary already knows is
    /// replaced.
    pub(crate) fn apply(&self, vocabulary: &mut Vocabulary) {
        for (role, name) in &self.names {
            let id = vocabulary.tokens.iter().position(|text| text == name.as_bytes());
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
fn template(value: Option<&Value>) -> Option<String> {
    match value? {
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

/// `{"content": .., "special": .., ..}`
pub(crate) fn added_token(
    file: &'static str,
    id: TokenId,
    value: &Value,
) -> Result<AddedToken, TokenizerError> {
    let content = value.get("content").and_then(Value::as_str);
    let content =
        content.ok_or_else(|| invalid(file, "an added token has no text in `content`"))?;
    check_added(content.as_bytes())?;
    let flag = |name: &str| value.get(name).and_then(Value::as_bool).unwrap_or(false);
    Ok(AddedToken {
        id,
        content: content.as_bytes().to_vec(),
        special: flag("special"),
        lstrip: flag("lstrip"),
        rstrip: flag("rstrip"),
        single_word: flag("single_word"),
        normalized: flag("normalized"),
    })
}
