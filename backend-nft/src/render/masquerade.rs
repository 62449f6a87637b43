//! Whose source is rewritten: decided where packets leave, by what the client dialled (`ct original`), without marks.

use backend_api::{Family, Masquerade, NodeNetwork, Protocol};

use super::conditions::from_pod;
use crate::ruleset::{By, ChainName, Delivery, Field, Mark, Rewrite, Rule, SetName, Statement};

/// The rules of `nat-postrouting`.
pub(super) fn postrouting(node: &NodeNetwork, family: Family, delivery: Delivery) -> Vec<Rule> {
    let mut rules = match delivery {
        // ct status ! dnat accept
        Delivery::Translate => vec![Rule(vec![Statement::NotTranslated, Statement::Accept])],
        Delivery::Mark => vec![
            // meta mark & 0xff000000 != 0x53000000 ct status ! dnat accept: IPVS sets no status; who has one was translated
            // by the tables whose place these take, when its first packet came in
            Rule(vec![Statement::NotMarked, Statement::NotTranslated, Statement::Accept]),
            // meta mark & 0xff000000 == 0x53000000 ip daddr @cluster-ips counter drop: the node's own, and no virtual server took it
            Rule(vec![
                Statement::Marked,
                Statement::In(vec![Field::Destination], SetName::ClusterIps),
                Statement::Counter,
                Statement::Drop,
            ]),
            // meta mark & 0xff000000 == 0x53000000 meta mark set 0x00000000: nobody else is to see it
            Rule(vec![Statement::Marked, Statement::SetMark(Mark(0))]),
        ],
    };
    rules.push(
        // ip saddr . ip daddr @hairpin masquerade fully-random
        Rule(vec![Statement::In(vec![Field::Source, Field::Destination], SetName::Hairpin), Statement::Masquerade]),
    );
    let dialled = vec![Field::OriginalDestination, Field::Protocol, Field::OriginalPort];
    for (protocol, rewrite) in every_protocol(&Rewrite::ALL) {
        // meta l4proto tcp ct original ip daddr . meta l4proto . ct original proto-dst @masquerade-always masquerade …
        rules.push(Rule(vec![
            Statement::ProtocolIs(protocol),
            Statement::In(dialled.clone(), SetName::Masquerade(By::Address, rewrite)),
            verdict(rewrite),
        ]));
    }
    // ct original ip daddr @cluster-ips goto masquerade-unless-pod
    rules.push(Rule(vec![
        Statement::In(vec![Field::OriginalDestination], SetName::ClusterIps),
        verdict(rewrite(node.cluster_masquerade(family))),
    ]));
    for (protocol, rewrite) in every_protocol(&[Rewrite::Always, Rewrite::UnlessPod, Rewrite::FromNode]) {
        // meta l4proto tcp ct original ip daddr @node-addresses meta l4proto . ct original proto-dst @node-port-… goto …
        // The address too: another's translation of the same port on another address is none of our business.
        rules.push(Rule(vec![
            Statement::ProtocolIs(protocol),
            Statement::In(vec![Field::OriginalDestination], SetName::NodeAddresses),
            Statement::In(vec![Field::Protocol, Field::OriginalPort], SetName::Masquerade(By::NodePort, rewrite)),
            verdict(rewrite),
        ]));
    }
    rules
}

/// `ct original proto-dst` needs the protocol to be matched before it in the same rule, hence a rule for each.
fn every_protocol(rewrites: &[Rewrite]) -> impl Iterator<Item = (Protocol, Rewrite)> + '_ {
    Protocol::ALL.into_iter().flat_map(|protocol| rewrites.iter().map(move |rewrite| (protocol, *rewrite)))
}

/// The rules of `masquerade-unless-pod`.
pub(super) fn unless_pod(node: &NodeNetwork, family: Family) -> Vec<Rule> {
    // ip saddr 10.244.0.0/16 accept
    let pods = from_pod(node, family).map(|from_pod| Rule(vec![from_pod, Statement::Accept]));
    // masquerade fully-random
    pods.into_iter().chain([Rule(vec![Statement::Masquerade])]).collect()
}

/// The rules of `masquerade-from-node`.
pub(super) fn from_node(node: &NodeNetwork, family: Family) -> Vec<Rule> {
    let pods = from_pod(node, family).map(|from_pod| Rule(vec![from_pod, Statement::Accept]));
    // fib saddr type local masquerade fully-random
    pods.into_iter().chain([Rule(vec![Statement::SourceIsLocal, Statement::Masquerade])]).collect()
}

/// The set that says `masquerade`.
pub(super) fn rewrite(masquerade: Masquerade) -> Rewrite {
    match masquerade {
        Masquerade::Never => Rewrite::Never,
        Masquerade::Always => Rewrite::Always,
        Masquerade::UnlessPod => Rewrite::UnlessPod,
        Masquerade::FromNode => Rewrite::FromNode,
    }
}

fn verdict(rewrite: Rewrite) -> Statement {
    match rewrite {
        Rewrite::Always => Statement::Masquerade,
        Rewrite::UnlessPod => Statement::Goto(ChainName::MasqueradeUnlessPod),
        Rewrite::FromNode => Statement::Goto(ChainName::MasqueradeFromNode),
        Rewrite::Never => Statement::Accept,
    }
}
