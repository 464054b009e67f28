//! Finds weights files on this machine and fetches them from a hub. Knows nothing about what is in them.
