//! Which packets get another source: decided where packets leave, by what the client dialled (`ct original`), without
//! marks.

use backend_api::{Family, Masquerade, NodeNetwork, Protocol};

use super::conditions::from_pod;
use crate::ruleset::code::masquerade_code;
use crate::ruleset::{By, ChainName, Code, Delivery, Element, Field, Key, Mark, Rule, SetName, Statement, Value};

/// The rules of `nat-postrouting`.
pub(super) fn postrouting(node: &NodeNetwork, family: Family, delivery: Delivery) -> Vec<Rule> {
    let mut rules = match delivery {
        // ct status ! dnat accept
        Delivery::Translate => vec![Rule(vec![Statement::NotTranslated, Statement::Accept])],
        Delivery::Mark => vec![
            // meta mark & 0xff000000 != 0x53000000 ct status ! dnat accept: IPVS sets no status; a packet that has one was translated
            // by the tables that were here before, when its first packet came in
            Rule(vec![Statement::NotMarked, Statement::NotTranslated, Statement::Accept]),
            // meta mark & 0xff000000 == 0x53000000 ip daddr @cluster-ips counter drop: the node's own, and no virtual server took it
            Rule(vec![
                Statement::Marked,
                Statement::In(vec![Field::Destination], SetName::ClusterIps),
                Statement::Counter,
                Statement::Drop,
            ]),
            // meta mark & 0xff000000 == 0x53000000 meta mark set 0x00000000: no other program is to see it
            Rule(vec![Statement::Marked, Statement::SetMark(Mark(0))]),
        ],
    };
    rules.push(
        // ip saddr . ip daddr @hairpin masquerade fully-random
        Rule(vec![Statement::In(vec![Field::Source, Field::Destination], SetName::Hairpin), Statement::Masquerade]),
    );
    let dialled = [Field::OriginalDestination, Field::Protocol, Field::OriginalPort];
    for protocol in Protocol::ALL {
        // meta l4proto tcp meta priority set ct original ip daddr . meta l4proto . ct original proto-dst map @masquerades
        // meta priority vmap @masquerade-policies
        rules.push(Rule(
            [vec![Statement::ProtocolIs(protocol)], follow(dialled.to_vec(), SetName::Masquerade(By::Address))]
                .concat(),
        ));
    }
    // ct original ip daddr @cluster-ips masquerade fully-random
    let cluster = Statement::In(vec![Field::OriginalDestination], SetName::ClusterIps);
    rules.extend(rewrite(node.cluster_masquerade(family), &[cluster], node, family));
    for protocol in Protocol::ALL {
        // meta l4proto tcp ct original ip daddr @node-addresses meta priority set meta l4proto . ct original proto-dst …
        // The address too: another's translation of the same port on another address is not ours.
        let to_node = Statement::In(vec![Field::OriginalDestination], SetName::NodeAddresses);
        let found = follow(dialled[1..].to_vec(), SetName::Masquerade(By::NodePort));
        rules.push(Rule([vec![Statement::ProtocolIs(protocol), to_node], found].concat()));
    }
    rules
}

/// Where a map has the frontend: on to the chain that rewrites its source, or not. `ct original proto-dst` needs the
/// protocol to be matched before it in the same rule, hence a rule for each.
fn follow(key: Vec<Field>, map: SetName) -> Vec<Statement> {
    vec![Statement::SetPriorityFrom(key, map), Statement::Follow(SetName::MasqueradePolicies)]
}

/// The chain for frontends with this masquerade.
pub(super) fn chain(masquerade: Masquerade, node: &NodeNetwork, family: Family) -> Vec<Rule> {
    // meta priority set none: it carried the code here
    let carried = Rule(vec![Statement::SetPriority(Code(0))]);
    [carried].into_iter().chain(rewrite(masquerade, &[], node, family)).collect()
}

/// By which codes these chains are found.
pub(super) fn constant_elements(family: Family) -> impl Iterator<Item = Element> {
    Masquerade::ALL.into_iter().map(move |masquerade| {
        let chain = match masquerade {
            Masquerade::Never => ChainName::MasqueradeNever,
            Masquerade::Always => ChainName::MasqueradeAlways,
            Masquerade::UnlessPod => ChainName::MasqueradeUnlessPod,
            Masquerade::FromNode => ChainName::MasqueradeFromNode,
        };
        let key = Key::Code(masquerade_code(masquerade));
        Element::maps(family, SetName::MasqueradePolicies, key, Value::Goto(chain))
    })
}

/// Rules that end with the source rewritten, or kept, of what `condition` holds for.
fn rewrite(masquerade: Masquerade, condition: &[Statement], node: &NodeNetwork, family: Family) -> Vec<Rule> {
    let last = match masquerade {
        // accept
        Masquerade::Never => return vec![rule(None, condition, Statement::Accept)],
        // masquerade fully-random
        Masquerade::Always => return vec![rule(None, condition, Statement::Masquerade)],
        // masquerade fully-random
        Masquerade::UnlessPod => rule(None, condition, Statement::Masquerade),
        // fib saddr type local masquerade fully-random
        Masquerade::FromNode => rule(Some(Statement::SourceIsLocal), condition, Statement::Masquerade),
    };
    // ip saddr 10.244.0.0/16 accept
    let pods = from_pod(node, family).map(|from_pod| rule(Some(from_pod), condition, Statement::Accept));
    pods.into_iter().chain([last]).collect()
}

fn rule(first: Option<Statement>, condition: &[Statement], verdict: Statement) -> Rule {
    Rule(first.into_iter().chain(condition.iter().cloned()).chain([verdict]).collect())
}
