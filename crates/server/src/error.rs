//! Why the server does not start, or ends.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::access::KeyError;

/// The server does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}; another --port may be free")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// Others can reach the address, and there are no keys.
    #[error(
        "others can reach {address}, so API keys are needed: `lucid key add NAME` makes one \
         (or listen on 127.0.0.1, as without --host)"
    )]
    NoKeys {
        /// The address.
        address: SocketAddr,
    },
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The files for TLS cannot be used.
    #[error("{path}: {reason}")]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A model that was to be loaded at once cannot be.
    #[error("{reason}")]
    Load {
        /// Why.
        reason: String,
    },
    /// An option is not what it must be.
    #[error("{option}: {reason}")]
    Option {
        /// The option.
        option: &'static str,
        /// What is wrong, and what is expected.
        reason: String,
    },
    /// The store cannot be opened.
    #[error("{0}")]
    Store(String),
    /// The system gives no threads or signals.
    #[error("the system refuses what a server needs: {0}")]
    System(#[from] io::Error),
}
