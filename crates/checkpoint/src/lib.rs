//! Weights files: GGUF, safetensors, llama2.c; reading, checking, converting. Knows nothing about architectures' arithmetic or text.
