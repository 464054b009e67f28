//! The decision: allow, ask a person, or deny.
//!
//! Rules, the first that speaks decides:
//!
//! 1. A call that is not as its tool describes it, or of a tool that the process has no capability
//!    for, is denied.
//! 2. What has no effect, only reads, or stays inside and can be rolled back is allowed; labels
//!    flow with it.
//! 3. A destination must stand in trusted text, be given by a trusted look-up, or be approved;
//!    whatever the process has read.
//! 4. From here on only what labels speak against matters: sources that are untrusted, and those
//!    that not all who will read it may read. Without any the call is allowed.
//! 5. As long as nothing untrusted was read, what is private may go where a person pointed: that is
//!    what he pointed for. (The process might grant itself that flow; it need not.)
//! 6. Else one capability has to cover all of those sources, for these destinations.
//! 7. Once something untrusted was read, how much, when and which has to be trusted as well, or as
//!    good as that flow says, and one of the values that it names.
//!
//! What is not allowed by then is asked: a person sees the destination, the data and where they
//! come from, and may approve this one call.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::capability::{Capability, Flow, Named};
use crate::label::{Audience, Integrity, Label, SourceName};
use crate::origin::Origin;
use crate::tool::{Effect, Role, Tool};

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The join of the labels of all that the process ever read.
    pub label: &'a Label,
    /// What it may do.
    pub capabilities: &'a [Capability],
}

/// An argument of a call. A list is an argument for each of its elements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Argument {
    /// Its name in the tool's description.
    pub name: String,
    /// Its value in canonical form; of destinations this is what capabilities name.
    pub value: String,
    /// Where the value comes from.
    pub origin: Origin,
    /// The label of what it carries without the process having read it; else unlimited.
    pub label: Label,
    /// Of destinations, who will be able to read what goes there.
    pub audience: Audience,
}

/// What is called.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The tool.
    pub tool: &'a Tool,
    /// Its arguments.
    pub arguments: &'a [Argument],
}

/// What is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It may be done.
    Allow,
    /// A person is asked.
    Ask,
    /// It may not be done, whoever is asked.
    Deny,
}

/// Which rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// An argument that the tool does not have, or one that it needs is missing.
    Malformed,
    /// No capability for the tool.
    NoCapability,
    /// Nothing happens outside of the process.
    NoEffect,
    /// It only reads.
    Reads,
    /// It stays inside and can be rolled back.
    Inside,
    /// A destination comes from nowhere that is trusted.
    Destination,
    /// Nothing speaks against it.
    Clean,
    /// Nothing untrusted was read, and a person pointed to where it goes.
    Endorsed,
    /// A flow was granted.
    Granted,
    /// No flow was granted for these sources and destinations.
    NoFlow,
    /// An amount, a time or a choice is less trusted than the flow allows, or another one.
    Consequence,
}

impl Rule {
    /// What it says, for people.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Malformed => "the call is not as the tool describes it",
            Self::NoCapability => "the process has no capability for the tool",
            Self::NoEffect => "nothing happens outside of the process",
            Self::Reads => "it only reads; what is read brings its label along",
            Self::Inside => "it stays inside and can be rolled back",
            Self::Destination => "where it goes stands in no text that is trusted",
            Self::Clean => "nothing that was read speaks against it",
            Self::Endorsed => "nothing untrusted was read, and a person named where it goes",
            Self::Granted => "a capability grants this flow",
            Self::NoFlow => "something was read that may not flow there, and no flow was granted",
            Self::Consequence => "how much, when or which is not what the granted flow allows",
        }
    }

    /// What it decides.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Malformed | Self::NoCapability => Verdict::Deny,
            Self::NoEffect
            | Self::Reads
            | Self::Inside
            | Self::Clean
            | Self::Endorsed
            | Self::Granted => Verdict::Allow,
            Self::Destination | Self::NoFlow | Self::Consequence => Verdict::Ask,
        }
    }
}

/// Why: what a rule found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ground {
    /// An argument, with where it comes from.
    Argument {
        /// Its name.
        name: String,
        /// Its place among the call's arguments.
        place: usize,
        /// Where from.
        origin: Origin,
    },
    /// A required argument that the call does not have.
    Missing {
        /// Its name.
        name: String,
    },
    /// A source that limits what may become of the data.
    Source(SourceName),
}

/// A decision. Only [`decide`] makes one, or a log that is read again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Decision {
    /// About a call of which tool.
    pub tool: String,
    /// What.
    pub verdict: Verdict,
    /// By which rule.
    pub rule: Rule,
    /// On which grounds.
    pub grounds: Vec<Ground>,
    /// The label of what the call carries and leaves behind.
    pub label: Label,
    /// The place of the capability whose flow was used, of which a use is to be taken away.
    pub capability: Option<usize>,
}

/// Decides a call.
pub fn decide(subject: &Subject<'_>, call: &Call<'_>) -> Decision {
    let mut label = subject.label.clone();
    call.arguments.iter().for_each(|argument| label.extend(&argument.label));
    let decision = |rule: Rule, grounds: Vec<Ground>, capability: Option<usize>| Decision {
        tool: call.tool.name.clone(),
        verdict: rule.verdict(),
        rule,
        grounds,
        label: label.clone(),
        capability,
    };
    let wrong = malformed(call);
    if !wrong.is_empty() {
        return decision(Rule::Malformed, wrong, None);
    }
    let callable = |capability: &Capability| capability.tool == call.tool.name;
    if !subject.capabilities.iter().any(callable) {
        return decision(Rule::NoCapability, Vec::new(), None);
    }
    if let Some(rule) = without_going_outside(call.tool.effect) {
        return decision(rule, Vec::new(), None);
    }
    let unknown = arguments(call, |role, argument| {
        role == Role::Destination && !argument.origin.is_trusted()
    });
    if !unknown.is_empty() {
        return decision(Rule::Destination, unknown, None);
    }
    let limited = limited(&label, &audience(call));
    let grounds = || limited.iter().cloned().map(Ground::Source).collect();
    if limited.is_empty() {
        return decision(Rule::Clean, Vec::new(), None);
    }
    if label.integrity().is_trusted() && destinations(call).next().is_some() {
        return decision(Rule::Endorsed, grounds(), None);
    }
    let flows = |capability: &Capability| {
        callable(capability)
            && capability.uses != Some(0)
            && limited.iter().all(|source| capability.flow.from.holds(source))
            && reaches(&capability.flow, call)
    };
    let granted: Vec<usize> =
        (0..subject.capabilities.len()).filter(|&at| flows(&subject.capabilities[at])).collect();
    if granted.is_empty() {
        return decision(Rule::NoFlow, grounds(), None);
    }
    if label.integrity().is_trusted() {
        return decision(Rule::Granted, grounds(), granted.first().copied());
    }
    let worse = |at: usize| {
        let Flow { consequence, values, .. } = &subject.capabilities[at].flow;
        let wrong = |argument: &Argument| {
            let integrity = argument.origin.integrity().unwrap_or(Integrity::Untrusted);
            integrity > *consequence || !values.holds(&argument.value)
        };
        arguments(call, |role, argument| role == Role::Consequence && wrong(argument))
    };
    if let Some(at) = granted.iter().copied().find(|&at| worse(at).is_empty()) {
        return decision(Rule::Granted, grounds(), Some(at));
    }
    // What speaks against the flow that comes nearest.
    let least = granted.iter().map(|&at| worse(at)).min_by_key(Vec::len);
    decision(Rule::Consequence, least.unwrap_or_default(), None)
}

/// The arguments that say where it goes.
fn destinations<'a>(call: &'a Call<'_>) -> impl Iterator<Item = &'a Argument> {
    call.arguments.iter().filter(|argument| role_of(call, argument) == Some(Role::Destination))
}

/// Whether a flow is for all of a call's destinations. A call that names none tells everybody,
/// which only a flow to all allows.
fn reaches(flow: &Flow, call: &Call<'_>) -> bool {
    let named = destinations(call).next().is_some();
    (named || flow.to == Named::Any)
        && destinations(call).all(|argument| flow.to.holds(&argument.value))
}

/// The rule for what does not go outside.
fn without_going_outside(effect: Effect) -> Option<Rule> {
    match effect {
        Effect::None => Some(Rule::NoEffect),
        Effect::Read => Some(Rule::Reads),
        Effect::Inside => Some(Rule::Inside),
        Effect::Outside => None,
    }
}

/// What is not as the tool describes it.
fn malformed(call: &Call<'_>) -> Vec<Ground> {
    let unknown = call.arguments.iter().enumerate();
    let unknown = unknown.filter(|(_, argument)| role_of(call, argument).is_none());
    let mut wrong: Vec<_> = unknown.map(|(place, argument)| ground(place, argument)).collect();
    let given: BTreeSet<&str> =
        call.arguments.iter().map(|argument| argument.name.as_str()).collect();
    let missing = call.tool.arguments.iter();
    let missing = missing.filter(|spec| !spec.optional && !given.contains(spec.name.as_str()));
    wrong.extend(missing.map(|spec| Ground::Missing { name: spec.name.clone() }));
    wrong
}

fn role_of(call: &Call<'_>, argument: &Argument) -> Option<Role> {
    call.tool.argument(&argument.name).map(|spec| spec.role)
}

fn ground(place: usize, argument: &Argument) -> Ground {
    Ground::Argument { name: argument.name.clone(), place, origin: argument.origin.clone() }
}

/// The arguments of which a rule does not approve.
fn arguments(call: &Call<'_>, wrong: impl Fn(Role, &Argument) -> bool) -> Vec<Ground> {
    let all = call.arguments.iter().enumerate();
    all.filter(|(_, argument)| role_of(call, argument).is_some_and(|role| wrong(role, argument)))
        .map(|(place, argument)| ground(place, argument))
        .collect()
}

/// Who will be able to read what the call carries. Of a tool that reaches outside and names no
/// destination nobody knows.
fn audience(call: &Call<'_>) -> Audience {
    let all: Vec<_> = destinations(call).map(|argument| &argument.audience).collect();
    match all.split_first() {
        None => Audience::Public,
        Some((first, rest)) => rest.iter().fold((*first).clone(), |all, one| all.and(one)),
    }
}

/// The sources that speak against this going to such an audience.
fn limited(label: &Label, audience: &Audience) -> Vec<SourceName> {
    let against = label
        .sources()
        .filter(|(_, limits)| !limits.integrity.is_trusted() || !limits.readers.admit(audience));
    against.map(|(source, _)| source.clone()).collect()
}
