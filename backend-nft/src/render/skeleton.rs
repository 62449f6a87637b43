//! The chains of our tables and their rules.

use backend_api::{Family, NodeNetwork, Pool, Protocol};

use super::conditions::{from_pod, frontend, frontend_and, to_node};
use super::{affinity, masquerade};
use crate::assign::first_slot;
use crate::kernel::{Base, Hook};
use crate::ruleset::{By, ChainName, Code, Element, Field, Key, Policy, Rule, SetName, Statement, Tag, Value};

/// Pools up to this size have their chains from the start: binding a rule to a map walks all its elements, so these rules
/// are bound while the maps are empty. Chains for larger pools come on demand, and stay.
const SIZES: std::ops::RangeInclusive<u16> = 1..=64;

/// Ahead of every DNAT, ours or another's: source ranges are written against the address that the client dialled, and
/// afterwards nobody remembers it.
const GUARD: i32 = NAT - 10;
/// `NF_IP_PRI_NAT_DST`
const NAT: i32 = -100;
/// Behind every DNAT: what is translated is not asked any more.
const UNDELIVERED: i32 = NAT + 10;
/// `NF_IP_PRI_NAT_SRC`
const NAT_SOURCE: i32 = 100;

/// The chains that are always there.
pub(crate) fn initial_chains() -> impl Iterator<Item = ChainName> {
    let picks = By::ALL.into_iter().flat_map(|by| {
        [Pool::Cluster, Pool::Local]
            .into_iter()
            .flat_map(move |pool| SIZES.map(move |size| ChainName::Pick(by, pool, size)))
    });
    picks.chain(ChainName::CONSTANT)
}

/// Where packets enter a chain; none where only other chains lead to it.
pub(crate) fn base(chain: ChainName) -> Option<Base> {
    use ChainName::*;
    let (hook, priority) = match chain {
        GuardPrerouting => (Hook::Prerouting, GUARD),
        GuardOutput => (Hook::Output, GUARD),
        NatPrerouting => (Hook::Prerouting, NAT),
        NatOutput => (Hook::Output, NAT),
        UndeliveredPrerouting => (Hook::Prerouting, UNDELIVERED),
        UndeliveredOutput => (Hook::Output, UNDELIVERED),
        NatPostrouting => (Hook::Postrouting, NAT_SOURCE),
        Refuse | Pick(..) | Sticky(..) | Slot(..) | Split(_) | SplitInside(_) | Guard | Services | Undelivered
        | MasqueradeUnlessPod | MasqueradeFromNode => return None,
    };
    Some(Base { kind: "nat".to_owned(), hook, priority })
}

/// The rules of a chain.
pub(crate) fn rules(chain: ChainName, node: &NodeNetwork, family: Family) -> Vec<Rule> {
    use ChainName::*;
    match chain {
        Refuse => vec![
            // meta l4proto tcp reject with tcp reset
            Rule(vec![Statement::ProtocolIs(Protocol::Tcp), Statement::RejectWithReset]),
            // reject
            Rule(vec![Statement::Reject]),
        ],
        Pick(by, pool, size) => pick(by, pool, size),
        Sticky(by, pool, size) => affinity::sticky(by, pool, size),
        Slot(by, tag) => affinity::slot(by, tag),
        Split(by) => split(by, node, family),
        SplitInside(by) => answer(by, SetName::Inside(by)),
        Guard => guard(node, family),
        Services => services(node, family),
        Undelivered => undelivered(node, family),
        MasqueradeUnlessPod => masquerade::unless_pod(node, family),
        MasqueradeFromNode => masquerade::from_node(node, family),
        GuardPrerouting | GuardOutput => vec![Rule(vec![Statement::Jump(Guard)])],
        NatPrerouting | NatOutput => vec![Rule(vec![Statement::Jump(Services)])],
        UndeliveredPrerouting | UndeliveredOutput => vec![Rule(vec![Statement::Jump(Undelivered)])],
        NatPostrouting => masquerade::postrouting(node, family),
    }
}

/// Elements of the verdict maps that need no size.
pub(crate) fn constant_elements(family: Family) -> impl Iterator<Item = Element> {
    By::ALL.into_iter().flat_map(move |by| {
        [(Policy::Refuse, Value::Goto(ChainName::Refuse)), (Policy::Drop, Value::Drop)]
            .map(|(policy, value)| Element::maps(family, SetName::Policies(by), Key::Code(policy.code()), value))
    })
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
    let check = |by: By| {
        [
            Statement::In(frontend(by), SetName::Restricted(by)),
            Statement::NotIn(frontend_and(by, Field::Source), SetName::Allowed(by)),
            Statement::Drop,
        ]
    };
    vec![
        // ip daddr . meta l4proto . th dport @restricted ip daddr . meta l4proto . th dport . ip saddr != @allowed drop
        Rule(check(By::Address).to_vec()),
        // ip daddr @node-addresses meta l4proto . th dport @node-port-restricted … != @node-port-allowed drop
        Rule([to_node(node, family), check(By::NodePort).to_vec()].concat()),
    ]
}

/// One rule looks up and follows: where the first lookup finds nothing, the second does not happen, whatever priority a
/// socket has set. A code that `policies` does not know is that of a split.
fn services(node: &NodeNetwork, family: Family) -> Vec<Rule> {
    let lookup = |by: By| {
        vec![Statement::SetPriorityFrom(frontend(by), SetName::Services(by)), Statement::Follow(SetName::Policies(by))]
    };
    let split = |by: By| vec![Statement::PriorityIs(Policy::Split.code()), Statement::Goto(ChainName::Split(by))];
    vec![
        // meta priority 5351:0 meta priority set none: a socket may have set just this; below it is ours
        Rule(vec![Statement::PriorityIs(Policy::Split.code()), Statement::SetPriority(Code(0))]),
        // meta priority set ip daddr . meta l4proto . th dport map @services meta priority vmap @policies
        Rule(lookup(By::Address)),
        // meta priority 5351:0 goto split
        Rule(split(By::Address)),
        // ip daddr @node-addresses meta priority set meta l4proto . th dport map @node-ports meta priority vmap …
        Rule([to_node(node, family), lookup(By::NodePort)].concat()),
        // ip daddr @node-addresses meta priority 5351:0 goto node-port-split
        Rule([to_node(node, family), split(By::NodePort)].concat()),
    ]
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
        Rule(vec![Statement::SetPriorityFrom(frontend(by), map), Statement::Follow(SetName::Policies(by))]),
        // drop
        Rule(vec![Statement::Drop]),
    ]
}

fn pick(by: By, pool: Pool, size: u16) -> Vec<Rule> {
    let slot = Field::Random { modulus: size.into(), offset: first_slot(pool) };
    vec![
        // meta priority set none
        Rule(vec![Statement::SetPriority(Code(0))]),
        // dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 3 map @endpoints
        Rule(vec![Statement::Translate(frontend_and(by, slot), SetName::Endpoints(by))]),
        // drop
        Rule(vec![Statement::Drop]),
    ]
}

/// An address that the node itself has bound is its own business.
fn undelivered(node: &NodeNetwork, family: Family) -> Vec<Rule> {
    let mut rules = vec![
        // ip daddr @cluster-ips fib daddr type != local goto refuse
        Rule(vec![
            Statement::In(vec![Field::Destination], SetName::ClusterIps),
            Statement::DestinationIsNotLocal,
            Statement::Goto(ChainName::Refuse),
        ]),
    ];
    // ip daddr 10.96.0.0/12 fib daddr type != local drop
    let ranges = node.service_cidrs.iter().filter(|range| range.family() == family);
    rules.extend(
        ranges.map(|range| {
            Rule(vec![Statement::DestinationIn(*range), Statement::DestinationIsNotLocal, Statement::Drop])
        }),
    );
    rules
}
