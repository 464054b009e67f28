//! Where a checkpoint's vocabulary is. This crate finds and maps the bytes; reading them is the
//! tokenizer's work.

use lucid_sys::Bytes;

/// The vocabulary that belongs to a checkpoint.
#[derive(Clone, Debug)]
pub enum TokenizerSource {
    /// In the metadata, under GGUF's `tokenizer.*` keys.
    Metadata,
    /// In Hugging Face's files beside the weights.
    Files(Box<TokenizerFiles>),
    /// A `tokenizer.bin` of llama2.c.
    Llama2c(Bytes),
    /// Nowhere: only token ids can be used.
    None,
}

/// The files of a Hugging Face folder that describe its vocabulary and chat format. Mapped, not
/// parsed.
#[derive(Clone, Debug, Default)]
pub struct TokenizerFiles {
    /// `tokenizer.json`.
    pub tokenizer_json: Option<Bytes>,
    /// `tokenizer_config.json`.
    pub tokenizer_config: Option<Bytes>,
    /// `tokenizer.model`, SentencePiece's protocol buffer.
    pub sentencepiece: Option<Bytes>,
    /// `vocab.json`, with `merges_txt` the older form of byte-level BPE.
    pub vocab_json: Option<Bytes>,
    /// `merges.txt`.
    pub merges_txt: Option<Bytes>,
    /// `special_tokens_map.json`.
    pub special_tokens_map: Option<Bytes>,
    /// `chat_template.jinja`.
    pub chat_template_jinja: Option<Bytes>,
    /// `chat_template.json`: an object with the key `chat_template`.
    pub chat_template_json: Option<Bytes>,
    /// `generation_config.json`: end tokens and sampling defaults.
    pub generation_config: Option<Bytes>,
    /// `config.json`, which names begin and end tokens too.
    pub config: Option<Bytes>,
}
