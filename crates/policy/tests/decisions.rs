//! Decisions over every effect, role, origin, label and capability, against a second statement of
//! the rules; and what must hold whatever the call.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use lucid_policy::{
    Argument, ArgumentSpec, Audience, Call, Capability, Decision, Effect, Flow, Ground, Integrity,
    Label, Limits, Named, Origin, Party, Readers, Role, Rule, SourceName, Subject, Tool, Verdict,
    decide,
};
use proptest::prelude::*;

const DESTINATION: &str = "to";
const OTHER: &str = "elsewhere";

fn label(integrity: Integrity, readers: Readers) -> Label {
    Label::of(SourceName::new("source"), Limits { integrity, readers })
}

fn tool(effect: Effect, roles: &[Role]) -> Tool {
    let argument = |(index, &role): (usize, &Role)| ArgumentSpec {
        name: format!("argument {index}"),
        role,
        optional: false,
    };
    let arguments = roles.iter().enumerate().map(argument).collect();
    Tool { name: "tool".to_owned(), effect, arguments }
}

fn argument(index: usize, value: &str, origin: Origin, audience: Audience) -> Argument {
    Argument {
        name: format!("argument {index}"),
        value: value.to_owned(),
        origin,
        label: Label::unlimited(),
        audience,
    }
}

fn origins() -> Vec<Origin> {
    let mut all =
        vec![Origin::LookUp { segment: 1 }, Origin::Approved, Origin::Fixed, Origin::Written];
    for integrity in Integrity::ALL {
        all.push(Origin::Span { segment: 2, integrity });
        all.push(Origin::Held { segment: 3, integrity });
    }
    all
}

fn capabilities() -> Vec<Vec<Capability>> {
    let names = |name: &str| Named::Only([name.to_owned()].into());
    let from = |name: &str| Named::Only([SourceName::new(name)].into());
    let mut all =
        vec![vec![], vec![Capability::plain("another tool")], vec![Capability::plain("tool")]];
    for source in [Named::Any, Named::none(), from("source"), from("another")] {
        for to in [Named::Any, names(DESTINATION), names(OTHER)] {
            for consequence in Integrity::ALL {
                for uses in [None, Some(0), Some(1)] {
                    for values in [Named::Any, names(DESTINATION), names(OTHER)] {
                        let (from, to) = (source.clone(), to.clone());
                        let flow = Flow { from, to, consequence, values };
                        all.push(vec![Capability { tool: "tool".to_owned(), flow, uses }]);
                    }
                }
            }
        }
    }
    all
}

/// What the argument is worth, said by a table.
fn worth(origin: &Origin) -> usize {
    match origin {
        Origin::Fixed => 0,
        Origin::LookUp { .. } | Origin::Approved => 1,
        Origin::Span { integrity, .. } | Origin::Held { integrity, .. } => {
            Integrity::ALL.iter().position(|it| it == integrity).unwrap()
        }
        Origin::Written => 3,
    }
}

/// The rules once more, for one argument of one role and one source.
fn expected(
    effect: Effect,
    role: Role,
    origin: &Origin,
    (integrity, readers): (Integrity, &Readers),
    audience: &Audience,
    capabilities: &[Capability],
) -> Rule {
    let Some(capability) = capabilities.iter().find(|it| it.tool == "tool") else {
        return Rule::NoCapability;
    };
    match effect {
        Effect::None => return Rule::NoEffect,
        Effect::Read => return Rule::Reads,
        Effect::Inside => return Rule::Inside,
        Effect::Outside => {}
    }
    let goes = role == Role::Destination;
    if goes && (worth(origin) > 1 || *origin == Origin::Written) {
        return Rule::Destination;
    }
    let tainted = integrity == Integrity::Value || integrity == Integrity::Untrusted;
    let seen = match (readers, audience) {
        (Readers::Anyone, _) => true,
        (Readers::Only(_), _) if !goes => false,
        (Readers::Only(readers), Audience::Parties(parties)) => {
            parties.iter().all(|party| readers.contains(party))
        }
        (Readers::Only(_), Audience::Public) => false,
    };
    if !tainted && seen {
        return Rule::Clean;
    }
    if !tainted && goes {
        return Rule::Endorsed;
    }
    let from = match &capability.flow.from {
        Named::Any => true,
        Named::Only(names) => names.iter().any(|name| name.name() == "source"),
    };
    let to = match &capability.flow.to {
        Named::Any => true,
        // Who names nobody tells everybody.
        Named::Only(names) => goes && names.iter().any(|name| name == DESTINATION),
    };
    if !from || !to || capability.uses == Some(0) {
        return Rule::NoFlow;
    }
    let bound = Integrity::ALL.iter().position(|it| *it == capability.flow.consequence).unwrap();
    let value = match &capability.flow.values {
        Named::Any => true,
        Named::Only(names) => names.contains(DESTINATION),
    };
    if tainted && role == Role::Consequence && (worth(origin) > bound || !value) {
        return Rule::Consequence;
    }
    Rule::Granted
}

#[test]
fn every_effect_role_origin_label_and_capability() {
    let [ann, bob] = ["ann", "bob"].map(Party::new);
    let audiences = [Audience::of(&ann), Audience::of(&bob), Audience::Public];
    let readers = [Readers::Anyone, Readers::only(&ann)];
    let mut seen = std::collections::BTreeMap::<Rule, usize>::new();
    for effect in Effect::ALL {
        for role in Role::ALL {
            let tool = tool(effect, &[role]);
            for origin in origins() {
                for integrity in Integrity::ALL {
                    for readers in &readers {
                        for audience in &audiences {
                            for capabilities in capabilities() {
                                let label = label(integrity, readers.clone());
                                let arguments =
                                    [argument(0, DESTINATION, origin.clone(), audience.clone())];
                                let subject =
                                    Subject { label: &label, capabilities: &capabilities };
                                let call = Call { tool: &tool, arguments: &arguments };
                                let found = decide(&subject, &call);
                                let given = (integrity, readers);
                                let want =
                                    expected(effect, role, &origin, given, audience, &capabilities);
                                assert_eq!(
                                    found.rule, want,
                                    "{effect:?} {role:?} {origin:?} {label:?} {audience:?} \
                                     {capabilities:?}"
                                );
                                assert_eq!(found.verdict, want.verdict());
                                assert_eq!(found.capability.is_some(), want == Rule::Granted);
                                assert_eq!(found.label, label);
                                *seen.entry(want).or_default() += 1;
                            }
                        }
                    }
                }
            }
        }
    }
    // All rules but the one for calls that are not as described.
    assert_eq!(seen.len(), 10, "{seen:?}");
}

#[test]
fn what_a_rule_decides() {
    let deny = [Rule::Malformed, Rule::NoCapability];
    let ask = [Rule::Destination, Rule::NoFlow, Rule::Consequence];
    let allow =
        [Rule::NoEffect, Rule::Reads, Rule::Inside, Rule::Clean, Rule::Endorsed, Rule::Granted];
    assert!(deny.iter().all(|rule| rule.verdict() == Verdict::Deny));
    assert!(ask.iter().all(|rule| rule.verdict() == Verdict::Ask));
    assert!(allow.iter().all(|rule| rule.verdict() == Verdict::Allow));
}

#[test]
fn people_are_told_rules_and_origins_apart() {
    let rules = [
        Rule::Malformed,
        Rule::NoCapability,
        Rule::NoEffect,
        Rule::Reads,
        Rule::Inside,
        Rule::Destination,
        Rule::Clean,
        Rule::Endorsed,
        Rule::Granted,
        Rule::NoFlow,
        Rule::Consequence,
    ];
    let told: BTreeSet<String> = rules.iter().map(|rule| rule.in_words().to_owned()).collect();
    assert_eq!(told.len(), rules.len());
    let integrity = Integrity::Person;
    for (origin, part) in [
        (Origin::Span { segment: 7, integrity }, "page 7"),
        (Origin::LookUp { segment: 7 }, "look-up"),
        (Origin::Approved, "approved"),
        (Origin::Fixed, "fixes"),
        (Origin::Held { segment: 7, integrity }, "unread"),
        (Origin::Written, "the process wrote it"),
    ] {
        assert!(origin.in_words().contains(part), "{origin:?}");
    }
}

#[test]
fn a_grant_proves_one_decision_about_one_tool() {
    let (label, ann) = (label(Integrity::Untrusted, Readers::Anyone), Party::new("ann"));
    let tool_named = |name: &str| Tool { name: name.to_owned(), ..tool(Effect::Outside, &[]) };
    let (own, other) = (tool_named("tool"), tool_named("another tool"));
    let call = Call { tool: &own, arguments: &[] };
    let elsewhere = Call { tool: &other, arguments: &[] };
    let any = Flow {
        from: Named::Any,
        to: Named::Any,
        consequence: Integrity::Untrusted,
        values: Named::Any,
    };
    let flow = [Capability { tool: "tool".to_owned(), flow: any, uses: None }];
    let allowed = of(&label, &flow, &own, &[]);
    assert_eq!(allowed.verdict, Verdict::Allow);
    let grant = allowed.grant(&call).unwrap();
    assert_eq!((grant.tool(), grant.label(), grant.approved_by()), ("tool", &label, None));
    // Nobody has to approve what is allowed, and no other tool runs on account of it.
    assert_eq!(allowed.approved(&call, &ann), None);
    assert_eq!(allowed.grant(&elsewhere), None);

    let asked = of(&label, &[Capability::plain("tool")], &own, &[]);
    assert_eq!(asked.verdict, Verdict::Ask);
    assert_eq!(asked.grant(&call), None);
    assert_eq!(asked.approved(&elsewhere, &ann), None);
    let grant = asked.approved(&call, &ann).unwrap();
    assert_eq!((grant.tool(), grant.label(), grant.approved_by()), ("tool", &label, Some(&ann)));

    let denied = of(&label, &[], &own, &[]);
    assert_eq!(denied.verdict, Verdict::Deny);
    assert_eq!((denied.grant(&call), denied.approved(&call, &ann)), (None, None));
}

fn of(label: &Label, capabilities: &[Capability], tool: &Tool, given: &[Argument]) -> Decision {
    decide(&Subject { label, capabilities }, &Call { tool, arguments: given })
}

#[test]
fn calls_that_are_not_as_described_are_denied() {
    let tool = Tool {
        arguments: vec![
            ArgumentSpec { name: "needed".to_owned(), role: Role::Content, optional: false },
            ArgumentSpec { name: "more".to_owned(), role: Role::Content, optional: true },
        ],
        ..tool(Effect::None, &[])
    };
    let given = |name: &str| Argument {
        name: name.to_owned(),
        ..argument(0, "x", Origin::Written, Audience::nobody())
    };
    let own = [Capability::plain("tool")];
    let clean = Label::unlimited();
    let none = of(&clean, &own, &tool, &[]);
    assert_eq!(none.rule, Rule::Malformed);
    assert_eq!(none.grounds, [Ground::Missing { name: "needed".to_owned() }]);
    let wrong = of(&clean, &own, &tool, &[given("needed"), given("other")]);
    assert_eq!(wrong.rule, Rule::Malformed);
    assert!(
        matches!(&wrong.grounds[..], [Ground::Argument { name, place: 1, .. }] if name == "other")
    );
    assert_eq!(of(&clean, &own, &tool, &[given("needed")]).rule, Rule::NoEffect);
    assert_eq!(of(&clean, &own, &tool, &[given("needed"), given("more")]).rule, Rule::NoEffect);
}

#[test]
fn grounds_name_what_a_rule_found() {
    let [ann, bob] = ["ann", "bob"].map(Party::new);
    let tool = tool(Effect::Outside, &[Role::Destination, Role::Content, Role::Consequence]);
    let spoken = Origin::Span { segment: 4, integrity: Integrity::Person };
    let doubtful = Origin::Span { segment: 9, integrity: Integrity::Untrusted };
    let given = |to: &Origin, amount: &Origin| {
        [
            argument(0, DESTINATION, to.clone(), Audience::of(&bob)),
            argument(1, "text", Origin::Written, Audience::nobody()),
            argument(2, "50", amount.clone(), Audience::nobody()),
        ]
    };
    let mail = label(Integrity::Untrusted, Readers::only(&ann));
    let flow = |consequence| {
        let to = Named::Only([DESTINATION.to_owned()].into());
        let flow = Flow { from: Named::Any, to, consequence, values: Named::Any };
        [Capability { tool: "tool".to_owned(), flow, uses: None }]
    };
    let asked = of(&mail, &flow(Integrity::Person), &tool, &given(&doubtful, &spoken));
    assert_eq!(asked.rule, Rule::Destination);
    let want =
        Ground::Argument { name: "argument 0".to_owned(), place: 0, origin: doubtful.clone() };
    assert_eq!(asked.grounds, [want]);
    let asked = of(&mail, &[Capability::plain("tool")], &tool, &given(&spoken, &spoken));
    assert_eq!(asked.rule, Rule::NoFlow);
    assert_eq!(asked.grounds, [Ground::Source(SourceName::new("source"))]);
    let asked = of(&mail, &flow(Integrity::Person), &tool, &given(&spoken, &doubtful));
    assert_eq!(asked.rule, Rule::Consequence);
    let want =
        Ground::Argument { name: "argument 2".to_owned(), place: 2, origin: doubtful.clone() };
    assert_eq!(asked.grounds, [want]);
    let done = of(&mail, &flow(Integrity::Untrusted), &tool, &given(&spoken, &doubtful));
    assert_eq!((done.rule, done.capability), (Rule::Granted, Some(0)));
    let done = of(&mail, &flow(Integrity::Person), &tool, &given(&spoken, &spoken));
    assert_eq!(done.rule, Rule::Granted);
    assert_eq!(done.grounds, [Ground::Source(SourceName::new("source"))]);
}

#[test]
fn the_capability_that_fits_is_the_one_that_is_used() {
    let tool = tool(Effect::Outside, &[Role::Destination, Role::Consequence]);
    let spoken = Origin::Span { segment: 1, integrity: Integrity::Person };
    let value = Origin::Span { segment: 2, integrity: Integrity::Value };
    let bob = Party::new("bob");
    let given = [
        argument(0, DESTINATION, spoken, Audience::of(&bob)),
        argument(1, "50", value, Audience::nobody()),
    ];
    let flow = |to: &str, consequence, uses| Capability {
        tool: "tool".to_owned(),
        flow: Flow {
            from: Named::Any,
            to: Named::Only([to.to_owned()].into()),
            consequence,
            values: Named::Only(["50".to_owned()].into()),
        },
        uses,
    };
    let own = [
        Capability::plain("tool"),
        flow(OTHER, Integrity::Untrusted, None),
        flow(DESTINATION, Integrity::Untrusted, Some(0)),
        flow(DESTINATION, Integrity::Person, None),
        flow(DESTINATION, Integrity::Value, Some(1)),
    ];
    let mail = label(Integrity::Untrusted, Readers::Anyone);
    assert_eq!(of(&mail, &own, &tool, &given).capability, Some(4));
    let mut more = given.clone();
    more[1].value = "51".to_owned();
    assert_eq!(of(&mail, &own, &tool, &more).rule, Rule::Consequence);
    assert_eq!(of(&mail, &own[..4], &tool, &given).rule, Rule::Consequence);
}

#[test]
fn what_is_carried_unread_counts_as_what_is_read() {
    let [ann, bob] = ["ann", "bob"].map(Party::new);
    let tool = tool(Effect::Outside, &[Role::Destination, Role::Content]);
    let spoken = Origin::Span { segment: 1, integrity: Integrity::Person };
    let held = Origin::Held { segment: 2, integrity: Integrity::Person };
    let diary = |integrity| {
        let limits = Limits { integrity, readers: Readers::only(&ann) };
        Label::of(SourceName::new("diary"), limits)
    };
    let mut given = [
        argument(0, DESTINATION, spoken, Audience::of(&bob)),
        argument(1, "handle", held, Audience::nobody()),
    ];
    let own = [Capability::plain("tool")];
    let clean = Label::unlimited();
    assert_eq!(of(&clean, &own, &tool, &given).rule, Rule::Clean);
    // A person pointed to where it goes.
    given[1].label = diary(Integrity::Person);
    assert_eq!(of(&clean, &own, &tool, &given).rule, Rule::Endorsed);
    let secret = diary(Integrity::Untrusted);
    given[1].label = secret.clone();
    let asked = of(&clean, &own, &tool, &given);
    assert_eq!(asked.rule, Rule::NoFlow);
    assert_eq!(asked.grounds, [Ground::Source(SourceName::new("diary"))]);
    assert_eq!(asked.label, secret);
}

#[test]
fn every_destination_of_a_list_counts() {
    let [ann, bob] = ["ann", "bob"].map(Party::new);
    let tool = tool(Effect::Outside, &[Role::Destination]);
    let spoken = Origin::Span { segment: 1, integrity: Integrity::Person };
    let to = |value: &str, party: &Party, origin: &Origin| {
        argument(0, value, origin.clone(), Audience::of(party))
    };
    let own = [Capability::plain("tool")];
    let file = label(Integrity::Person, Readers::only(&ann));
    assert_eq!(of(&file, &own, &tool, &[to("a", &ann, &spoken)]).rule, Rule::Clean);
    let both = [to("a", &ann, &spoken), to("b", &bob, &spoken)];
    assert_eq!(of(&file, &own, &tool, &both).rule, Rule::Endorsed);
    let one_made_up = [to("a", &ann, &spoken), to("b", &ann, &Origin::Written)];
    assert_eq!(of(&file, &own, &tool, &one_made_up).rule, Rule::Destination);
    let flow = |names: &[&str]| {
        let to = Named::Only(names.iter().map(|&name| name.to_owned()).collect());
        let consequence = Integrity::Person;
        let flow = Flow { from: Named::Any, to, consequence, values: Named::none() };
        [Capability { tool: "tool".to_owned(), flow, uses: None }]
    };
    let file = label(Integrity::Value, Readers::only(&ann));
    assert_eq!(of(&file, &flow(&["a"]), &tool, &both).rule, Rule::NoFlow);
    assert_eq!(of(&file, &flow(&["a", "b"]), &tool, &both).rule, Rule::Granted);
}

fn any_integrity() -> impl Strategy<Value = Integrity> {
    (0..4usize).prop_map(|index| Integrity::ALL[index])
}

fn any_readers() -> impl Strategy<Value = Readers> {
    prop_oneof![
        Just(Readers::Anyone),
        proptest::collection::btree_set("[ab]", 0..3)
            .prop_map(|names| Readers::Only(names.iter().map(|name| Party::new(name)).collect())),
    ]
}

fn any_label() -> impl Strategy<Value = Label> {
    proptest::collection::vec(("[xyz]", any_integrity(), any_readers()), 0..4).prop_map(|parts| {
        parts.into_iter().fold(Label::unlimited(), |label, (name, integrity, readers)| {
            label.join(&Label::of(SourceName::new(&name), Limits { integrity, readers }))
        })
    })
}

fn any_origin() -> impl Strategy<Value = Origin> {
    let all = origins();
    (0..all.len()).prop_map(move |index| all[index].clone())
}

fn any_audience() -> impl Strategy<Value = Audience> {
    prop_oneof![
        Just(Audience::Public),
        proptest::collection::btree_set("[ab]", 0..3).prop_map(|names| {
            Audience::Parties(names.iter().map(|name| Party::new(name)).collect())
        }),
    ]
}

fn any_capability() -> impl Strategy<Value = Capability> {
    let from = prop_oneof![
        Just(Named::Any),
        proptest::collection::btree_set("[xyz]", 0..4)
            .prop_map(|names| Named::Only(names.iter().map(|it| SourceName::new(it)).collect())),
    ];
    let to = prop_oneof![
        Just(Named::Any),
        proptest::collection::btree_set("[pq]", 0..3).prop_map(Named::Only),
    ];
    let values = prop_oneof![
        Just(Named::Any),
        proptest::collection::btree_set("[pq]", 0..3).prop_map(Named::Only),
    ];
    let uses = proptest::option::of(0..2u32);
    let parts = (from, to, any_integrity(), values, uses);
    parts.prop_map(|(from, to, consequence, values, uses)| Capability {
        tool: "tool".to_owned(),
        flow: Flow { from, to, consequence, values },
        uses,
    })
}

prop_compose! {
    fn any_case()(
        effect in 0..4usize,
        parts in proptest::collection::vec(
            (0..3usize, "[pq]", any_origin(), any_label(), any_audience()), 0..4),
        label in any_label(),
        capabilities in proptest::collection::vec(any_capability(), 0..3),
    ) -> (Tool, Vec<Argument>, Label, Vec<Capability>) {
        let roles: Vec<Role> = parts.iter().map(|part| Role::ALL[part.0]).collect();
        let argument = |(index, (_, value, origin, label, audience))| {
            let name = format!("argument {index}");
            Argument { name, value, origin, label, audience }
        };
        let arguments = parts.into_iter().enumerate().map(argument).collect();
        (tool(Effect::ALL[effect], &roles), arguments, label, capabilities)
    }
}

fn rank(verdict: Verdict) -> usize {
    [Verdict::Allow, Verdict::Ask, Verdict::Deny].iter().position(|it| *it == verdict).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn who_has_read_more_may_do_no_more(
        (tool, given, label, own) in any_case(), more in any_label(),
    ) {
        let before = of(&label, &own, &tool, &given);
        let after = of(&label.join(&more), &own, &tool, &given);
        prop_assert!(rank(before.verdict) <= rank(after.verdict), "{before:?} {after:?}");
        prop_assert!(after.label.is_bounded_by(&before.label));
    }

    #[test]
    fn who_has_more_capabilities_may_do_no_less(
        (tool, given, label, own) in any_case(), one in any_capability(),
    ) {
        let before = of(&label, &own, &tool, &given);
        let more: Vec<_> = own.iter().cloned().chain([one]).collect();
        let after = of(&label, &more, &tool, &given);
        prop_assert!(rank(after.verdict) <= rank(before.verdict), "{before:?} {after:?}");
    }

    #[test]
    fn nothing_goes_where_only_untrusted_text_or_the_process_points(
        (tool, given, label, own) in any_case(),
    ) {
        let done = of(&label, &own, &tool, &given);
        if done.verdict == Verdict::Allow && tool.effect == Effect::Outside {
            for (argument, spec) in given.iter().zip(&tool.arguments) {
                prop_assert!(spec.role != Role::Destination || worth(&argument.origin) <= 1);
            }
        }
    }

    #[test]
    fn without_a_flow_nothing_untrusted_gets_out_and_nothing_private_where_nobody_pointed(
        (tool, given, label, _) in any_case(),
    ) {
        let done = of(&label, &[Capability::plain("tool")], &tool, &given);
        if done.verdict == Verdict::Allow && tool.effect == Effect::Outside {
            prop_assert!(done.label.integrity().is_trusted());
            let mut pairs = given.iter().zip(&tool.arguments);
            let pointed = pairs.any(|(_, spec)| spec.role == Role::Destination);
            prop_assert!(pointed || done.label.readers().admit(&Audience::Public));
        }
    }

    #[test]
    fn a_decision_is_written_and_read_back((tool, given, label, own) in any_case()) {
        let decision = of(&label, &own, &tool, &given);
        let text = serde_json::to_string(&decision).unwrap();
        prop_assert_eq!(serde_json::from_str::<Decision>(&text).unwrap(), decision.clone());
        prop_assert_eq!(of(&label, &own, &tool, &given), decision);
    }
}
