//! What processes can call: the [`Tool`] trait, and the tools that come along. Knows nothing about
//! processes, windows or models, and decides nothing: a tool runs only with a [`Grant`], which only
//! a decision of `policy` makes.
//!
//! - [`Calculator`]: arithmetic, exact where whole numbers allow it.
//! - [`Clock`]: the date and the time.
//! - [`Folder`]: the files of one application, and nothing beside them.

#![forbid(unsafe_code)]

mod calculator;
mod clock;
mod folder;
mod tool;

pub use calculator::{Calculator, evaluate};
pub use clock::Clock;
pub use folder::{Folder, FolderError, PATH_BYTES_MAX};
pub use lucid_policy::Grant;
pub use tool::{Arguments, Destination, Outcome, Setting, Settled, Tool, ToolCard, ToolError};
