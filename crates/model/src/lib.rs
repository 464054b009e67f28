//! One Transformer and one mapping table per architecture. Knows nothing about files, threads, memory or text.
