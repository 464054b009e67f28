//! Tests of the whole site over scripted models: what comes out for what goes in.

mod access;
mod charges;
mod chat;
mod doors;
mod registry;
mod responses;
mod sockets;
mod texts;
mod tls;
