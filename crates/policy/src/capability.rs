//! Capabilities: which tool a process may call, and which information may flow to whom by it.
//!
//! A capability never says more than the one that it was derived from. A flow is granted while
//! nothing untrusted was read, or by a person; what is read later cannot change it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::decide::Subject;
use crate::label::{Integrity, SourceName};
use crate::origin::Origin;

/// Some names, or all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Named<T: Ord> {
    /// Any.
    Any,
    /// These.
    Only(BTreeSet<T>),
}

impl<T: Ord> Named<T> {
    /// None.
    pub fn none() -> Self {
        Self::Only(BTreeSet::new())
    }

    /// Whether one is among them.
    pub fn holds(&self, one: &T) -> bool {
        match self {
            Self::Any => true,
            Self::Only(some) => some.contains(one),
        }
    }

    /// Whether all of another are among them.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Only(_), Self::Any) => false,
            (Self::Only(own), Self::Only(others)) => others.is_subset(own),
        }
    }
}

/// What may flow where although labels speak against it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Sources: untrusted ones that may have had a part in what the process does, and ones whose
    /// content may reach more than their readers.
    pub from: Named<SourceName>,
    /// Destinations, in the tool's canonical form.
    pub to: Named<String>,
    /// The least believed argument that may decide how much, when or which.
    pub consequence: Integrity,
    /// The values that such an argument may have: an amount, a date, a choice.
    pub values: Named<String>,
}

impl Flow {
    /// None at all.
    pub fn none() -> Self {
        Self {
            from: Named::none(),
            to: Named::none(),
            consequence: Integrity::Person,
            values: Named::none(),
        }
    }

    fn covers(&self, other: &Self) -> bool {
        self.from.covers(&other.from)
            && self.to.covers(&other.to)
            && self.consequence >= other.consequence
            && self.values.covers(&other.values)
    }
}

/// A right to call a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// The tool's name.
    pub tool: String,
    /// What may flow by it.
    pub flow: Flow,
    /// How often it may still be used for its flow; without a bound if there is none.
    pub uses: Option<u32>,
}

impl Capability {
    /// The right to call a tool, and to no flow.
    pub fn plain(tool: &str) -> Self {
        Self { tool: tool.to_owned(), flow: Flow::none(), uses: None }
    }

    /// Whether it says at least as much as another.
    pub fn covers(&self, other: &Self) -> bool {
        let uses = match (self.uses, other.uses) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(others)) => own >= others,
        };
        self.tool == other.tool && self.flow.covers(&other.flow) && uses
    }
}

/// Whether a process may give a capability to another, or a flow to itself.
///
/// What one of its own covers it may always hand on, unless that can be used so often only: what is
/// counted cannot be in two hands. A flow beyond that it may grant only while all
/// that it has read is trusted, for a tool that it may call, to destinations that stand in trusted
/// text (`origins`, one for each destination that the capability names), and never to all.
pub fn may_grant(subject: &Subject<'_>, capability: &Capability, origins: &[Origin]) -> bool {
    if subject.capabilities.iter().any(|own| own.uses.is_none() && own.covers(capability)) {
        return true;
    }
    let Named::Only(destinations) = &capability.flow.to else { return false };
    let known = origins.len() == destinations.len() && origins.iter().all(Origin::is_trusted);
    let callable = subject.capabilities.iter().any(|own| own.tool == capability.tool);
    subject.label.integrity().is_trusted() && callable && known
}

/// What a copy of a process has: all but the flows that can be used so often only, which stay with
/// whom they were given to.
pub fn inherited(capabilities: &[Capability]) -> Vec<Capability> {
    let hand_on = |own: &Capability| match own.uses {
        None => own.clone(),
        Some(_) => Capability::plain(&own.tool),
    };
    capabilities.iter().map(hand_on).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::label::{Label, Limits, Readers};

    fn named() -> impl Strategy<Value = Named<String>> {
        prop_oneof![
            Just(Named::Any),
            proptest::collection::btree_set("[ab]", 0..3).prop_map(Named::Only),
        ]
    }

    fn capability() -> impl Strategy<Value = Capability> {
        let parts = (named(), named(), 0..4usize, named());
        let flow = parts.prop_map(|(from, to, consequence, values)| {
            let from = match from {
                Named::Any => Named::Any,
                Named::Only(names) => {
                    Named::Only(names.iter().map(|name| SourceName::new(name)).collect())
                }
            };
            Flow { from, to, consequence: Integrity::ALL[consequence], values }
        });
        ("[st]", flow, proptest::option::of(0..3u32)).prop_map(|(tool, flow, uses)| Capability {
            tool,
            flow,
            uses,
        })
    }

    proptest! {
        #[test]
        fn covering_is_an_order(a in capability(), b in capability(), c in capability()) {
            prop_assert!(a.covers(&a));
            prop_assert!(!(a.covers(&b) && b.covers(&c)) || a.covers(&c));
            prop_assert!(!(a.covers(&b) && b.covers(&a)) || a == b);
        }

        #[test]
        fn what_is_covered_holds_no_more(a in named(), b in named(), name in "[abc]") {
            prop_assert!(!(a.covers(&b) && b.holds(&name)) || a.holds(&name));
        }
    }

    #[test]
    fn each_part_of_a_capability_counts() {
        let names = |names: &[&str]| Named::Only(names.iter().map(|&name| name.into()).collect());
        let all = Capability {
            tool: "send".to_owned(),
            flow: Flow {
                from: Named::Any,
                to: names(&["a", "b"]),
                consequence: Integrity::Value,
                values: names(&["50", "60"]),
            },
            uses: Some(2),
        };
        let less = |change: &dyn Fn(&mut Capability)| {
            let mut other = all.clone();
            change(&mut other);
            all.covers(&other)
        };
        assert!(less(&|it| it.flow.to = names(&["a"])));
        assert!(less(&|it| it.flow.consequence = Integrity::Person));
        assert!(less(&|it| it.flow.values = names(&["60"])));
        assert!(!less(&|it| it.flow.values = names(&["50", "70"])));
        assert!(!less(&|it| it.flow.values = Named::Any));
        assert!(less(&|it| it.flow.from = Named::none()));
        assert!(less(&|it| it.uses = Some(1)));
        assert!(!less(&|it| it.tool = "pay".to_owned()));
        assert!(!less(&|it| it.flow.to = names(&["a", "c"])));
        assert!(!less(&|it| it.flow.to = Named::Any));
        assert!(!less(&|it| it.flow.consequence = Integrity::Untrusted));
        assert!(!less(&|it| it.uses = Some(3)));
        assert!(!less(&|it| it.uses = None));
        let bounded = Capability { flow: Flow { from: Named::none(), ..all.flow.clone() }, ..all };
        let wide = Capability {
            flow: Flow { from: Named::Any, ..bounded.flow.clone() },
            ..bounded.clone()
        };
        assert!(!bounded.covers(&wide));
    }

    #[test]
    fn flows_are_granted_before_anything_untrusted_is_read() {
        let label = |integrity| {
            Label::of(SourceName::new("it"), Limits { integrity, readers: Readers::Anyone })
        };
        let [clean, value, dirty] =
            [Integrity::Person, Integrity::Value, Integrity::Untrusted].map(label);
        let own = [Capability::plain("send")];
        let to = |names: &[&str]| Capability {
            flow: Flow {
                from: Named::Any,
                to: Named::Only(names.iter().map(|&name| name.to_owned()).collect()),
                consequence: Integrity::Value,
                values: Named::Any,
            },
            ..Capability::plain("send")
        };
        let spoken = [Origin::Span { segment: 1, integrity: Integrity::Person }];
        let may = |label: &Label, capability: &Capability, origins: &[Origin]| {
            may_grant(&Subject { label, capabilities: &own }, capability, origins)
        };
        assert!(may(&clean, &to(&["bob"]), &spoken));
        assert!(!may(&value, &to(&["bob"]), &spoken));
        assert!(!may(&dirty, &to(&["bob"]), &spoken));
        assert!(!may(&clean, &to(&["bob"]), &[Origin::Written]));
        assert!(!may(&clean, &to(&["bob"]), &[]));
        assert!(!may(&clean, &to(&["bob", "eve"]), &spoken));
        assert!(!may(&clean, &to(&["bob", "eve"]), &[spoken[0].clone(), Origin::Written]));
        let pay = Capability { tool: "pay".to_owned(), ..to(&["bob"]) };
        assert!(!may(&clean, &pay, &spoken));
        let all = Capability {
            flow: Flow { to: Named::Any, ..to(&[]).flow },
            ..Capability::plain("send")
        };
        assert!(!may(&clean, &all, &[]));
        // What is counted stays with whom it was given to.
        let once = [Capability { uses: Some(1), ..to(&["bob"]) }];
        let subject = Subject { label: &dirty, capabilities: &once };
        assert!(!may_grant(&subject, &once[0], &spoken));
        assert_eq!(inherited(&once), own);
        assert_eq!(inherited(&[to(&["bob"])]), [to(&["bob"])]);
        // What it has it may hand on, whatever it has read.
        assert!(may(&dirty, &Capability::plain("send"), &[]));
    }
}
