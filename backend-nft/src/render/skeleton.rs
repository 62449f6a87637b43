//! The chains of our tables and their rules.

use backend_api::{Family, Masquerade, NodeNetwork, Pool, Protocol};

use super::conditions::{from_pod, frontend, frontend_and, to_node};
use super::{affinity, fastpath, masquerade};
use crate::assign::first_slot;
use crate::ruleset::{
    By, ChainName, Code, Delivery, Element, Field, Key, Label, Mark, Policy, Rule, SetName, Statement, Tag, Value,
};
use netlink::nftables::{Base, Hook};

/// Pools up to this size have their chains from the start: binding a rule to a map walks all its elements, so these
/// rules are bound while the maps are empty. Chains for larger pools come on demand, and stay. Each size is 40 writes
/// of every first sync, and almost all pools are small.
pub(crate) const INITIAL_SIZE: u16 = 16;

/// `NF_IP_PRI_MANGLE`: behind connection tracking, ahead of every DNAT and of routing.
const DELIVER: i32 = -150;
/// Behind IPVS (`ip_vs_ops`: `NF_IP_PRI_NAT_DST` + 2), which has chosen the endpoint by then.
const ROUTE: i32 = NAT + 3;
/// Behind that.
const UNMARK: i32 = ROUTE + 1;
/// Right before IPVS, which translates answers at 99 (ICMP) and 100.
const VEIL: i32 = 98;
/// Right behind it.
const UNVEIL: i32 = 101;

/// Ahead of every DNAT, ours or another's: source ranges are written against the address that the client dialled, which
/// is lost afterwards.
const GUARD: i32 = NAT - 10;
/// `NF_IP_PRI_NAT_DST`
const NAT: i32 = -100;
/// Behind every DNAT: what is translated is not asked any more.
const UNDELIVERED: i32 = NAT + 10;
/// `NF_IP_PRI_NAT_SRC`
const NAT_SOURCE: i32 = 100;
/// Behind the filters of others: what they would drop is not handed over.
const FASTPATH: i32 = 300;

/// The chains that are always there.
pub(crate) fn initial_chains(delivery: Delivery) -> impl Iterator<Item = ChainName> {
    let largest = match delivery {
        Delivery::Translate => INITIAL_SIZE,
        // IPVS picks.
        Delivery::Mark => 1,
    };
    let picks = By::ALL.into_iter().flat_map(move |by| {
        [Pool::Cluster, Pool::Local]
            .into_iter()
            .flat_map(move |pool| (1..=largest).map(move |size| ChainName::Pick(by, pool, size)))
    });
    picks.chain(ChainName::constant(delivery))
}

/// Where packets enter a chain; none where only other chains lead to it.
pub(crate) fn base(chain: ChainName, delivery: Delivery) -> Option<Base> {
    use ChainName::*;
    let (kind, hook, priority) = match chain {
        GuardPrerouting => ("nat", Hook::Prerouting, GUARD),
        GuardOutput => ("nat", Hook::Output, GUARD),
        NatPrerouting => ("nat", Hook::Prerouting, services_priority(delivery)),
        NatOutput => ("nat", Hook::Output, services_priority(delivery)),
        UndeliveredPrerouting => ("nat", Hook::Prerouting, UNDELIVERED),
        UndeliveredOutput => ("nat", Hook::Output, UNDELIVERED),
        NatPostrouting => ("nat", Hook::Postrouting, NAT_SOURCE),
        Deliver => ("filter", Hook::Prerouting, DELIVER),
        RouteOutput => ("route", Hook::Output, ROUTE),
        Unserved => ("nat", Hook::Input, NAT_SOURCE),
        Unmark => ("filter", Hook::Output, UNMARK),
        Veil => ("filter", Hook::Forward, VEIL),
        Unveil => ("filter", Hook::Forward, UNVEIL),
        Fastpath => ("filter", Hook::Forward, FASTPATH),
        Refuse | NoEndpoints | NoLocalEndpoints | Pick(..) | Sticky(..) | Slot(..) | Split(_) | SplitInside(_)
        | Guard | Services | Undelivered | MasqueradeAlways | MasqueradeUnlessPod | MasqueradeFromNode
        | MasqueradeNever | Bystander => return None,
    };
    Some(Base { kind: kind.to_owned(), hook, priority })
}

/// While tables of one kind take the place of the other, the kernel has the chains of both for an instant. The tables
/// that translate come first then, and those that mark do not see the packet any more: it must not be marked and
/// translated.
fn services_priority(delivery: Delivery) -> i32 {
    match delivery {
        Delivery::Translate => NAT,
        Delivery::Mark => NAT + 1,
    }
}

/// The rules of a chain.
pub(crate) fn rules(chain: ChainName, node: &NodeNetwork, family: Family, delivery: Delivery) -> Vec<Rule> {
    use ChainName::*;
    match chain {
        Refuse => vec![
            // meta l4proto tcp reject with tcp reset
            Rule(vec![Statement::ProtocolIs(Protocol::Tcp), Statement::RejectWithReset]),
            // reject
            Rule(vec![Statement::Reject]),
        ],
        // counter goto refuse
        NoEndpoints => vec![Rule(vec![Statement::Counter, Statement::Goto(Refuse)])],
        // counter drop
        NoLocalEndpoints => vec![Rule(vec![Statement::Counter, Statement::Drop])],
        Pick(by, pool, size) => pick(by, pool, size, delivery),
        Sticky(by, pool, size) => affinity::sticky(by, pool, size),
        Slot(by, tag) => affinity::slot(by, tag, delivery),
        Split(by) => split(by, node, family),
        SplitInside(by) => answer(by, SetName::Inside(by)),
        Guard => guard(node, family),
        Services => services(node, family),
        Undelivered => undelivered(node, family, delivery),
        MasqueradeAlways => masquerade::chain(Masquerade::Always, node, family),
        MasqueradeUnlessPod => masquerade::chain(Masquerade::UnlessPod, node, family),
        MasqueradeFromNode => masquerade::chain(Masquerade::FromNode, node, family),
        MasqueradeNever => masquerade::chain(Masquerade::Never, node, family),
        GuardPrerouting | GuardOutput => vec![Rule(vec![Statement::Jump(Guard)])],
        NatPrerouting | NatOutput => vec![Rule(vec![Statement::Jump(Services)])],
        UndeliveredPrerouting | UndeliveredOutput => vec![Rule(vec![Statement::Jump(Undelivered)])],
        NatPostrouting => masquerade::postrouting(node, family, delivery),
        Deliver => deliver(),
        RouteOutput => route_output(),
        Unserved => unserved(),
        Unmark => unmark(),
        Bystander => bystander(),
        Veil => veil(),
        Unveil => vec![flip()],
        Fastpath => node.offload.as_ref().map(fastpath::rules).unwrap_or_default(),
    }
}

/// Elements of the verdict maps that need no size.
pub(crate) fn constant_elements(family: Family) -> impl Iterator<Item = Element> {
    let policies = By::ALL.into_iter().flat_map(move |by| {
        [(Policy::Refuse, ChainName::NoEndpoints), (Policy::Drop, ChainName::NoLocalEndpoints)].map(
            |(policy, chain)| {
                Element::maps(family, SetName::Policies(by), Key::Code(policy.code()), Value::Goto(chain))
            },
        )
    });
    policies.chain(masquerade::constant_elements(family))
}

/// The element by which a chain is found; none for chains that are found by rules alone.
pub(crate) fn sized_element(family: Family, chain: ChainName) -> Option<Element> {
    let (map, code): (SetName, Code) = match chain {
        ChainName::Pick(by, pool, size) => (SetName::Policies(by), Policy::Pick(pool, size).code()),
        ChainName::Sticky(by, pool, size) => (SetName::Policies(by), Policy::Sticky(pool, size).code()),
        ChainName::Slot(by, tag) => (SetName::StickySlots(by), Tag::code(tag)),
        _ => return None,
    };
    Some(Element::maps(family, map, Key::Code(code), Value::Goto(chain)))
}

fn guard(node: &NodeNetwork, family: Family) -> Vec<Rule> {
    vec![
        // ip daddr . meta l4proto . th dport @restricted ip daddr . meta l4proto . th dport . ip saddr != @allowed counter drop
        Rule(drop_unless_allowed(By::Address)),
        // ip daddr @node-addresses meta l4proto . th dport @node-port-restricted … != @node-port-allowed counter drop
        Rule([to_node(node, family), drop_unless_allowed(By::NodePort)].concat()),
    ]
}

fn drop_unless_allowed(by: By) -> Vec<Statement> {
    vec![
        Statement::In(frontend(by), SetName::Restricted(by)),
        Statement::NotIn(frontend_and(by, Field::Source), SetName::Allowed(by)),
        Statement::Counter,
        Statement::Drop,
    ]
}

/// One rule looks up and follows: where the first lookup finds nothing, the second does not happen, whatever priority a
/// socket has set. A code that `policies` does not know is that of a split.
fn services(node: &NodeNetwork, family: Family) -> Vec<Rule> {
    vec![
        // meta priority 5351:0 meta priority set none: a socket may have set just this; below it is ours
        Rule(vec![Statement::PriorityIs(Policy::Split.code()), Statement::SetPriority(Code(0))]),
        // meta priority set ip daddr . meta l4proto . th dport map @services meta priority vmap @policies
        Rule(follow(By::Address, SetName::Services(By::Address))),
        // meta priority 5351:0 goto split
        Rule(goto_split(By::Address)),
        // ip daddr @node-addresses meta priority set meta l4proto . th dport map @node-ports meta priority vmap …
        Rule([to_node(node, family), follow(By::NodePort, SetName::Services(By::NodePort))].concat()),
        // ip daddr @node-addresses meta priority 5351:0 goto node-port-split
        Rule([to_node(node, family), goto_split(By::NodePort)].concat()),
    ]
}

/// Where `map` knows the frontend: on to the chain of its code.
fn follow(by: By, map: SetName) -> Vec<Statement> {
    vec![Statement::SetPriorityFrom(frontend(by), map), Statement::Follow(SetName::Policies(by))]
}

fn goto_split(by: By) -> Vec<Statement> {
    vec![Statement::PriorityIs(Policy::Split.code()), Statement::Goto(ChainName::Split(by))]
}

fn split(by: By, node: &NodeNetwork, family: Family) -> Vec<Rule> {
    let inside = Statement::Goto(ChainName::SplitInside(by));
    let mut rules = Vec::new();
    // ip saddr 10.244.0.0/16 goto split-inside
    rules.extend(from_pod(node, family).map(|from_pod| Rule(vec![from_pod, inside.clone()])));
    // fib saddr type local goto split-inside
    rules.push(Rule(vec![Statement::SourceIsLocal, inside]));
    rules.extend(answer(by, SetName::Outside(by)));
    rules
}

/// What misses is dropped: only in the instant of a commit can it, and untranslated it must not go on.
fn answer(by: By, map: SetName) -> Vec<Rule> {
    vec![
        // meta priority set ip daddr . meta l4proto . th dport map @services-inside meta priority vmap @policies
        Rule(follow(by, map)),
        // drop
        Rule(vec![Statement::Drop]),
    ]
}

fn pick(by: By, pool: Pool, size: u16, delivery: Delivery) -> Vec<Rule> {
    let slot = Field::Random { modulus: size.into(), offset: first_slot(pool) };
    vec![
        // meta priority set none
        Rule(vec![Statement::SetPriority(Code(0))]),
        // dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 3 map @endpoints
        Rule::hand_over(frontend_and(by, slot), SetName::Endpoints(by), delivery),
        // drop
        Rule(vec![Statement::Drop]),
    ]
}

/// What is sent to an address that the node itself has bound is left alone.
fn undelivered(node: &NodeNetwork, family: Family, delivery: Delivery) -> Vec<Rule> {
    let mut rules = match delivery {
        // meta mark & 0xff000000 == 0x53000000 ct label set 117 accept: IPVS comes later, and nothing is translated yet
        Delivery::Mark => vec![Rule(vec![Statement::Marked, Statement::SetLabel(Label::SERVED), Statement::Accept])],
        // meta mark & 0xff000000 == 0x53000000 accept: tables that mark are about to take our place
        Delivery::Translate => vec![Rule(vec![Statement::Marked, Statement::Accept])],
    };
    rules.extend([
        // ip daddr @cluster-ips fib daddr type != local counter goto refuse
        Rule(vec![
            Statement::In(vec![Field::Destination], SetName::ClusterIps),
            Statement::DestinationIsNotLocal,
            Statement::Counter,
            Statement::Goto(ChainName::Refuse),
        ]),
    ]);
    // ip daddr 10.96.0.0/12 fib daddr type != local counter drop
    let ranges = node.service_cidrs.iter().filter(|range| range.family() == family);
    rules.extend(ranges.map(|range| {
        Rule(vec![
            Statement::DestinationIn(*range),
            Statement::DestinationIsNotLocal,
            Statement::Counter,
            Statement::Drop,
        ])
    }));
    rules
}

/// Established connections find IPVS where the first packet did, behind the routing decision for this node.
fn deliver() -> Vec<Rule> {
    vec![
        // ct direction original ct label 117 meta mark set 0x53000000
        Rule(vec![Statement::FromClient, Statement::Labelled(Label::SERVED), Statement::SetMark(Mark::DELIVER)]),
    ]
}

/// IPVS keeps the route of the address that was dialled; another mark makes the kernel look for one again.
fn route_output() -> Vec<Rule> {
    vec![
        // oifname != "lo" ip daddr @own-addresses meta mark set 0x53000000
        Rule(vec![
            Statement::NotLeavingThroughLo,
            Statement::In(vec![Field::Destination], SetName::OwnAddresses),
            Statement::SetMark(Mark::DELIVER),
        ]),
    ]
}

/// Marked for a virtual server and not translated: there is none, or the connection is over for IPVS. The node itself
/// is not to answer in its place.
fn unserved() -> Vec<Rule> {
    vec![
        // meta mark & 0xff000000 != 0x53000000 accept
        Rule(vec![Statement::NotMarked, Statement::Accept]),
        // ip daddr != @own-addresses counter goto refuse: on its own addresses the node has endpoints, too
        Rule(vec![
            Statement::NotIn(vec![Field::Destination], SetName::OwnAddresses),
            Statement::Counter,
            Statement::Goto(ChainName::Refuse),
        ]),
    ]
}

/// IPVS sends on what it translated as if the node had sent it, so what is merely forwarded does not come here. First
/// packets lose their mark in `nat-postrouting`.
fn unmark() -> Vec<Rule> {
    vec![
        // meta mark 0x53000000 meta mark set 0x00000000
        Rule(vec![Statement::MarkIs(Mark::DELIVER), Statement::SetMark(Mark(0))]),
    ]
}

/// IPVS finds the connection of an answer by the endpoint and the client, not by what the client dialled: a client that
/// dials an endpoint itself, from a port that it also dialled a service from, would be answered in the service's name.
/// IPVS has no part in what is forwarded on its way out, for it sends on from the input hook; so it must not see the
/// answers either.
fn veil() -> Vec<Rule> {
    vec![
        flip(),
        // ct state new goto bystander
        Rule(vec![Statement::IsNew, Statement::Goto(ChainName::Bystander)]),
    ]
}

fn flip() -> Rule {
    // ct direction reply ct state established ct label 118 th sport set th sport ^ 65535
    Rule(vec![
        Statement::FromServer,
        Statement::IsEstablished,
        Statement::Labelled(Label::BYSTANDER),
        Statement::FlipSourcePort,
    ])
}

/// Labels what has ports.
fn bystander() -> Vec<Rule> {
    // meta l4proto tcp ct label set 118
    Protocol::ALL
        .map(|protocol| Rule(vec![Statement::ProtocolIs(protocol), Statement::SetLabel(Label::BYSTANDER)]))
        .into()
}
