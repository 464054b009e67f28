//! Hugging Face folders: safetensors with a `config.json`. Names and keys are translated to GGUF's
//! at opening, as llama.cpp's `convert_hf_to_gguf.py` names them; tensors stay where they are,
//! except for two that GGUF stores otherwise: Gemma's norm weights (there with 1 added) and Llama
//! 3's table of rope factors (made from `config.json`).

pub(crate) mod config;
pub(crate) mod family;
pub(crate) mod folder;
pub(crate) mod header;
pub(crate) mod index;
pub(crate) mod json;
mod rope;
mod window;
pub(crate) mod write;
