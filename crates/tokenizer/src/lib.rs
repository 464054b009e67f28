//! Bytes to token ids and back, and chat templates. Knows nothing about weights, files on disk or the network.
