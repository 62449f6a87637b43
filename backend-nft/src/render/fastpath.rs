//! Which established connections are handed to the flowtable: TCP, through one of our frontends.
//!
//! Apart from everything else because it is the one thing here that looks at packets of established connections, and
//! only where the operator asked for it. `flow add` leaves alone what cannot be handed over: a connection that is
//! ending, one that a helper follows.

use std::collections::BTreeSet;

use backend_api::{NodeNetwork, Offload, Protocol};

use crate::ruleset::{By, ChainName, Code, Delivery, FLOWTABLE, Field, Rule, SetName, Statement};
use netlink::nftables::Flowtable;

/// The chain that is there only where connections are handed over.
pub(crate) fn fastpath(node: &NodeNetwork, delivery: Delivery) -> Option<ChainName> {
    match delivery {
        Delivery::Translate => node.offload.as_ref().map(|_| ChainName::Fastpath),
        // IPVS translates: the kernel could not do its part.
        Delivery::Mark => None,
    }
}

/// The flowtable with these devices. It comes without any: one that has just gone must not keep services from being
/// programmed.
pub(crate) fn flowtable(devices: BTreeSet<String>) -> Flowtable {
    Flowtable { name: FLOWTABLE.to_owned(), priority: 0, flags: 0, devices }
}

/// The rules of `fastpath`. What is not ours, or not drawn, leaves at the first two.
pub(super) fn rules(Offload { after, devices: _ }: &Offload) -> Vec<Rule> {
    let dialled = [Field::OriginalDestination, Field::Protocol, Field::OriginalPort];
    let to_node = Statement::In(vec![Field::OriginalDestination], SetName::NodeAddresses);
    vec![
        // ct status ! dnat accept
        Rule(vec![Statement::NotTranslated, Statement::Accept]),
        // numgen random mod 16 != 0 accept
        Rule(vec![Statement::NotDrawn(*after), Statement::Accept]),
        // meta l4proto tcp ct state established ct original ip daddr @cluster-ips flow add @fastpath
        hand_over(vec![Statement::In(vec![Field::OriginalDestination], SetName::ClusterIps)]),
        // meta l4proto tcp ct state established meta priority set ct original ip daddr . meta l4proto . ct original proto-dst
        // map @masquerades meta priority set none flow add @fastpath: every other frontend is there, whatever it says
        hand_over(is_in_map(dialled.to_vec(), By::Address)),
        // meta l4proto tcp ct state established ct original ip daddr @node-addresses meta priority set meta l4proto . …
        // The address too: another's translation of the same port on another address is not ours.
        hand_over([vec![to_node], is_in_map(dialled[1..].to_vec(), By::NodePort)].concat()),
    ]
}

/// Hands established connections of TCP over, if `ours` holds.
fn hand_over(ours: Vec<Statement>) -> Rule {
    let begin = vec![Statement::ProtocolIs(Protocol::Tcp), Statement::IsEstablished];
    Rule([begin, ours, vec![Statement::HandOver]].concat())
}

/// Whether the map knows the frontend. A map can be asked for its value alone: that one packet's queueing class is
/// lost.
fn is_in_map(key: Vec<Field>, by: By) -> Vec<Statement> {
    vec![Statement::SetPriorityFrom(key, SetName::Masquerade(by)), Statement::SetPriority(Code(0))]
}
