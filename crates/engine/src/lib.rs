//! Sequences, KV blocks and sampling: token ids in, token ids and logits out. The engine knows nothing about text.
