//! Labels: whose word a text is, who may read it, where it comes from.
//!
//! Invariant: labels are a join-semilattice. `join` is associative, commutative and idempotent, and
//! its result is no better than either side: never more believed, never read by more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How far a text may be believed, best first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Integrity {
    /// The system's own words, its policy among them.
    #[default]
    System,
    /// A person of this system wrote it, or vouched for it.
    Person,
    /// A value of a closed form (a number, a date, one of a list) that was made of untrusted text:
    /// it may be wrong, but it cannot speak.
    Value,
    /// Anybody may have written it.
    Untrusted,
}

impl Integrity {
    /// All of them, best first.
    pub const ALL: [Integrity; 4] =
        [Integrity::System, Integrity::Person, Integrity::Value, Integrity::Untrusted];

    /// Whether what it says may decide where information goes.
    pub fn is_trusted(self) -> bool {
        self <= Integrity::Person
    }
}

/// Somebody who can read: a person of this system, or who stands behind a destination outside
/// (`mailto:bob@example.org`, `https://example.org`). Compared byte by byte: whoever makes one
/// brings it into its canonical form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Party(Arc<str>);

impl Party {
    /// By its canonical name.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// A place that texts come from: `web:example.org`, `mail:17`, `file:report.txt`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceName(Arc<str>);

impl SourceName {
    /// By its name.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// Who may read a text.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Readers {
    /// It is public.
    #[default]
    Anyone,
    /// These and nobody else.
    Only(BTreeSet<Party>),
}

impl Readers {
    /// One reader.
    pub fn only(party: &Party) -> Self {
        Self::Only(BTreeSet::from([party.clone()]))
    }

    /// Whether all of an audience may read.
    pub fn admit(&self, audience: &Audience) -> bool {
        match (self, audience) {
            (Self::Anyone, _) => true,
            (Self::Only(_), Audience::Public) => false,
            (Self::Only(readers), Audience::Parties(parties)) => parties.is_subset(readers),
        }
    }

    /// Who may read both of two texts.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Anyone, some) | (some, Self::Anyone) => some.clone(),
            (Self::Only(a), Self::Only(b)) => Self::Only(a.intersection(b).cloned().collect()),
        }
    }
}

/// Who will be able to read what goes to a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    /// These, and whoever they tell.
    Parties(BTreeSet<Party>),
    /// Anybody, or nobody knows who.
    Public,
}

impl Audience {
    /// Nobody yet.
    pub fn nobody() -> Self {
        Self::Parties(BTreeSet::new())
    }

    /// One party.
    pub fn of(party: &Party) -> Self {
        Self::Parties(BTreeSet::from([party.clone()]))
    }

    /// Both audiences together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Public, _) | (_, Self::Public) => Self::Public,
            (Self::Parties(a), Self::Parties(b)) => Self::Parties(a.union(b).cloned().collect()),
        }
    }
}

/// What is known of a text: the sources that had a part in it, each with the limits that it brings.
/// A source without limits (believed as the system is, read by anyone) is left out.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Label(BTreeMap<SourceName, Limits>);

/// What a source allows of what it had a part in.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// How far it may be believed.
    pub integrity: Integrity,
    /// Who may read it.
    pub readers: Readers,
}

impl Label {
    /// Of the system's own words, for anyone to read.
    pub fn unlimited() -> Self {
        Self::default()
    }

    /// Of a text of one source.
    pub fn of(source: SourceName, limits: Limits) -> Self {
        if limits == Limits::default() {
            return Self::unlimited();
        }
        Self(BTreeMap::from([(source, limits)]))
    }

    /// Of a text in which both had a part.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        let mut joined = self.clone();
        joined.extend(other);
        joined
    }

    /// Becomes the join of itself and another.
    pub fn extend(&mut self, other: &Self) {
        for (source, limits) in &other.0 {
            let own = self.0.entry(source.clone()).or_default();
            own.integrity = own.integrity.max(limits.integrity);
            own.readers = own.readers.join(&limits.readers);
        }
    }

    /// That of the least believed source.
    pub fn integrity(&self) -> Integrity {
        self.0.values().map(|limits| limits.integrity).max().unwrap_or_default()
    }

    /// Who may read all of it.
    pub fn readers(&self) -> Readers {
        self.0.values().fold(Readers::Anyone, |all, limits| all.join(&limits.readers))
    }

    /// The same text made a value of a closed form: no source of it can speak any more. Who may
    /// read it stays.
    #[must_use]
    pub fn as_value(&self) -> Self {
        let mut label = self.clone();
        for limits in label.0.values_mut() {
            limits.integrity = limits.integrity.min(Integrity::Value);
        }
        label
    }

    /// The sources that limit it.
    pub fn sources(&self) -> impl Iterator<Item = (&SourceName, &Limits)> {
        self.0.iter()
    }

    /// Whether it is no better than another: believed no more, read by no more.
    pub fn is_bounded_by(&self, better: &Self) -> bool {
        &self.join(better) == self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits() -> impl Strategy<Value = Limits> {
        let readers = prop_oneof![
            Just(Readers::Anyone),
            proptest::collection::btree_set("[abc]", 0..3).prop_map(|names| {
                Readers::Only(names.iter().map(|name| Party::new(name)).collect())
            }),
        ];
        (0..4usize, readers)
            .prop_map(|(index, readers)| Limits { integrity: Integrity::ALL[index], readers })
    }

    fn label() -> impl Strategy<Value = Label> {
        proptest::collection::vec(("[xyz]", limits()), 0..4).prop_map(|parts| {
            let mut label = Label::unlimited();
            for (name, limits) in parts {
                label.extend(&Label::of(SourceName::new(&name), limits));
            }
            label
        })
    }

    fn audience() -> impl Strategy<Value = Audience> {
        prop_oneof![
            Just(Audience::Public),
            proptest::collection::btree_set("[abc]", 0..3).prop_map(|names| {
                Audience::Parties(names.iter().map(|name| Party::new(name)).collect())
            }),
        ]
    }

    proptest! {
        #[test]
        fn labels_are_a_semilattice(a in label(), b in label(), c in label()) {
            prop_assert_eq!(a.join(&b), b.join(&a));
            prop_assert_eq!(a.join(&b).join(&c), a.join(&b.join(&c)));
            prop_assert_eq!(a.join(&a), a.clone());
            prop_assert_eq!(a.join(&Label::unlimited()), a.clone());
            prop_assert!(a.join(&b).is_bounded_by(&a));
        }

        #[test]
        fn a_join_is_no_better_than_its_sides(a in label(), b in label(), to in audience()) {
            let joined = a.join(&b);
            prop_assert_eq!(joined.integrity(), a.integrity().max(b.integrity()));
            let both = a.readers().admit(&to) && b.readers().admit(&to);
            prop_assert_eq!(joined.readers().admit(&to), both);
        }

        #[test]
        fn a_value_cannot_speak_and_is_read_by_no_more(a in label(), to in audience()) {
            let value = a.as_value();
            prop_assert_eq!(value.integrity(), a.integrity().min(Integrity::Value));
            prop_assert_eq!(value.readers().admit(&to), a.readers().admit(&to));
        }

        #[test]
        fn an_audience_is_admitted_if_each_part_of_it_is(
            a in label(), x in audience(), y in audience(),
        ) {
            let both = a.readers().admit(&x) && a.readers().admit(&y);
            prop_assert_eq!(a.readers().admit(&x.and(&y)), both);
        }
    }

    #[test]
    fn readers_admit_whom_they_name() {
        let [a, b] = ["a", "b"].map(Party::new);
        assert!(Readers::Anyone.admit(&Audience::Public));
        assert!(!Readers::only(&a).admit(&Audience::Public));
        assert!(Readers::only(&a).admit(&Audience::nobody()));
        assert!(Readers::only(&a).admit(&Audience::of(&a)));
        assert!(!Readers::only(&a).admit(&Audience::of(&b)));
        assert!(!Readers::only(&a).admit(&Audience::of(&a).and(&Audience::of(&b))));
    }

    #[test]
    fn only_the_system_and_persons_are_trusted() {
        let trusted = Integrity::ALL.map(Integrity::is_trusted);
        assert_eq!(trusted, [true, true, false, false]);
    }

    #[test]
    fn a_label_is_bounded_only_by_what_is_no_worse() {
        let limits = Limits { integrity: Integrity::Untrusted, readers: Readers::Anyone };
        let web = Label::of(SourceName::new("web"), limits);
        assert!(web.is_bounded_by(&Label::unlimited()) && web.is_bounded_by(&web));
        assert!(!Label::unlimited().is_bounded_by(&web));
        assert_eq!(web.join(&Label::unlimited()), web);
    }

    #[test]
    fn names_are_what_they_were_made_of() {
        assert_eq!(Party::new("ann").name(), "ann");
        assert_eq!(SourceName::new("file:a").name(), "file:a");
    }

    #[test]
    fn a_source_without_limits_is_left_out() {
        let label = Label::of(SourceName::new("clock"), Limits::default());
        assert_eq!(label, Label::unlimited());
        assert_eq!(label.sources().count(), 0);
    }
}
