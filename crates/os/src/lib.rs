//! The operating system: a language model as the process that everything else is a call of. Knows
//! nothing of terminals, HTTP or how a model computes.
//!
//! - [`log`]: one append-only chain of events, and contents beside it.
//! - [`State`]: a fold over the log: processes, windows, mailboxes, timers, files.
//! - [`Kernel`]: makes the events: asks models, runs calls, moves pages.
//! - [`audit`]: why something was decided, from the log alone; and whether it would be again.
//! - [`paging`]: which pages leave a window. [`dispatch`]: whose turn it is.
//! - `syscall/`: what a process can ask for, a file each.
//!
//! Privilege belongs to labels and capabilities (`lucid_policy`), never to what a text says, so
//! what holds for it holds for any model, one that obeys an attacker among them.

#![forbid(unsafe_code)]

pub mod audit;
pub mod dispatch;
mod error;
mod event;
mod ids;
mod kernel;
pub mod log;
mod page;
pub mod paging;
mod state;
mod syscall;

pub use error::OsError;
pub use event::{
    Alarm, Birth, Budget, Event, Exit, ExitReason, ExitValue, FileRecord, On, Question, Reply,
    Signal, Status, Used, Weighed,
};
pub use ids::{CallId, ContentId, EventNumber, PageId, Pid, TimerId};
pub use kernel::{
    Application, Asked, FILE_BYTES_MAX, Given, Kernel, PageLine, Settings, Step, SystemClock, Task,
    Time, Told, Wish, fold, page_lines,
};
pub use page::{CallRecord, Page, PageKind, Speaker};
pub use state::{
    Decided, FoldError, Mail, Place, Process, ProcessState, Progress, Slot, State, Timer, View,
    Window,
};
pub use syscall::names as syscall_names;
