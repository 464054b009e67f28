//! What may happen to which information: `decide(subject, call) -> Decision`. Pure: no I/O, no
//! clock, no state; the same question has the same answer, which is what makes a log of decisions
//! worth replaying.
//!
//! It knows nothing about processes, prompts, models or how a tool does its work. It is never asked
//! whether a text *looks* harmless: privilege belongs to labels and capabilities, and whoever has
//! read untrusted text is taken to do what that text says.
//!
//! - [`Label`]: whose word a text is, who may read it, where it comes from. Labels only get worse
//!   when texts meet ([`Label::join`]), and a process carries the join of all that it ever read.
//! - [`origin`]: where an argument stands in the texts that a process was given.
//! - [`Capability`]: which tool a process may call, and which information may flow to whom.
//! - [`decide`]: allow, ask a person, or deny; with the rule and the grounds.
//! - [`Grant`]: the proof of a decision, without which no tool runs.
//!
//! The model is that of information flow control (Denning, CACM 19(5), 1976) with endorsement by
//! capabilities that are granted before anything untrusted is read, as in Debenedetti et al.,
//! "Defeating Prompt Injections by Design", arXiv:2503.18813. Departures: (1) labels belong to
//! texts and to processes as a whole, not to variables of a program; (2) destinations are found by
//! exact spans in labelled texts.

#![forbid(unsafe_code)]

mod capability;
mod decide;
mod grant;
mod label;
pub mod origin;
mod source;
mod tool;
mod value;

pub use capability::{Capability, Flow, Named, inherited, may_grant};
pub use decide::{Argument, Call, Decision, Ground, Rule, Subject, Verdict, decide};
pub use grant::Grant;
pub use label::{Audience, Integrity, Label, Limits, Party, Readers, SourceName};
pub use origin::{Origin, Segment};
pub use source::{SourceKind, default_label};
pub use tool::{ArgumentSpec, Effect, Role, Tool};
pub use value::{Form, FormError, Value};
