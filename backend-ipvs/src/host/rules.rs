//! The rules and the route that deliver marked packets to this node, and which of those in the kernel are ours.
//!
//! Pure. The same in both families:
//!
//! ```text
//! 100: from all iif lo goto 103                                proto 83
//! 101: from all fwmark 0x53000000/0xff000000 lookup 21337      proto 83
//! 103: from all nop                                            proto 83
//! table 21337: local default dev lo                            proto 83 scope host
//! ```
//!
//! IPVS works on packets that are delivered locally, and no service address is bound: so a packet that has our mark
//! goes to lo. The goto is a must: what the node sends itself, IPVS's translated packets included, is routed with the
//! mark still on it, and would come back. (`iif lo` and the mark cannot be one rule: `not` inverts the whole
//! selector.)
//!
//! What is in the kernel is ours if it has our protocol number, and is at these priorities or in this table. What other
//! programs put there is left alone.

use backend_api::Family;
use backend_nft::marking::Mark;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};

/// Says that a rule or a route is ours: `rtm_protocol` and `FRA_PROTOCOL`. 83 is S, and the first byte of our marks.
/// It is free in linux/rtnetlink.h (Linux 6.15; the neighbours are 42 and 84) and in iproute2's rt_protos (6.1);
/// Calico has 80.
pub(crate) const PROTOCOL: RouteProtocol = RouteProtocol::Other(0x53);

/// The routing table.
pub(crate) const TABLE: u32 = 21337;

/// `LOOPBACK_IFINDEX` (include/net/flow.h): the kernel gives lo this index in every network namespace.
pub(crate) const LOOPBACK: u32 = 1;

/// One of our rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    /// `103: nop`
    Behind,
    /// `100: iif lo goto 103`
    Own,
    /// `101: fwmark 0x53000000/0xff000000 lookup 21337`
    Marked,
}

impl Place {
    /// In the order in which they come: a goto before its target, or marked packets before the goto, would let the
    /// node's own packets loop. They go in the opposite order.
    pub(crate) const ALL: [Self; 3] = [Self::Behind, Self::Own, Self::Marked];

    /// Where it is among all rules.
    pub(crate) const fn priority(self) -> u32 {
        match self {
            Self::Own => 100,
            Self::Marked => 101,
            Self::Behind => 103,
        }
    }

    /// As the kernel takes it.
    pub(crate) fn rule(self, family: Family) -> RuleMessage {
        let mut rule = at(self, family);
        match self {
            Self::Behind => rule.header.action = RuleAction::Nop,
            Self::Own => {
                rule.header.action = RuleAction::Goto;
                rule.attributes.push(RuleAttribute::Iifname("lo".to_owned()));
                rule.attributes.push(RuleAttribute::Goto(Self::Behind.priority()));
            }
            Self::Marked => {
                rule.header.action = RuleAction::ToTable;
                rule.attributes.push(RuleAttribute::FwMark(Mark::DELIVER.0));
                rule.attributes.push(RuleAttribute::FwMask(Mark::MASK));
                rule.attributes.push(RuleAttribute::Table(TABLE));
            }
        }
        rule
    }

    /// Any rule of ours at this priority, for removal: the kernel compares what is given, and never a goto's target.
    pub(crate) fn any(self, family: Family) -> RuleMessage {
        at(self, family)
    }
}

fn at(place: Place, family: Family) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = address_family(family);
    rule.attributes = vec![RuleAttribute::Priority(place.priority()), RuleAttribute::Protocol(PROTOCOL)];
    rule
}

/// The place that a rule of ours has; none for a rule that is not.
pub(crate) fn place(rule: &RuleMessage) -> Option<Place> {
    let is_ours = rule.attributes.contains(&RuleAttribute::Protocol(PROTOCOL));
    let mut places = Place::ALL.into_iter().filter(|_| is_ours);
    places.find(|place| rule.attributes.contains(&RuleAttribute::Priority(place.priority())))
}

/// Whether a rule of ours is what it should be.
pub(crate) fn is_right(rule: &RuleMessage, place: Place, family: Family) -> bool {
    let wanted = place.rule(family);
    let mut header = rule.header.clone();
    // What is said of others: whether a goto's target, or an interface, is there.
    header.flags.remove(RuleFlags::Unresolved | RuleFlags::IifDetached);
    header.table = wanted.header.table;
    header == wanted.header
        && wanted.attributes.iter().all(|attribute| rule.attributes.contains(attribute))
        && rule.attributes.iter().all(|attribute| wanted.attributes.contains(attribute) || is_idle(attribute))
}

/// What the kernel adds to every rule: no suppression, and the table once more.
fn is_idle(attribute: &RuleAttribute) -> bool {
    match attribute {
        RuleAttribute::SuppressPrefixLen(value) | RuleAttribute::SuppressIfGroup(value) => *value == u32::MAX,
        RuleAttribute::Table(table) => *table == 0,
        _ => false,
    }
}

/// The route: `local default dev lo table 21337 proto 83 scope host`.
pub(crate) fn route(family: Family) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = address_family(family);
    route.header.protocol = PROTOCOL;
    route.header.scope = RouteScope::Host;
    route.header.kind = RouteType::Local;
    route.attributes = vec![RouteAttribute::Table(TABLE), RouteAttribute::Oif(LOOPBACK)];
    route
}

/// Whether a route is ours.
pub(crate) fn is_our_route(route: &RouteMessage) -> bool {
    route.header.protocol == PROTOCOL && route.attributes.contains(&RouteAttribute::Table(TABLE))
}

/// Whether a route of ours is what it should be.
pub(crate) fn is_right_route(found: &RouteMessage, family: Family) -> bool {
    let wanted = route(family);
    let prefixes = (found.header.destination_prefix_length, found.header.source_prefix_length, found.header.tos);
    prefixes == (0, 0, 0)
        && found.header.address_family == wanted.header.address_family
        && found.header.kind == wanted.header.kind
        && found.attributes.contains(&RouteAttribute::Oif(LOOPBACK))
        && !found.attributes.iter().any(leads_elsewhere)
}

fn leads_elsewhere(attribute: &RouteAttribute) -> bool {
    use RouteAttribute::{Encap, Gateway, MultiPath, NhId, PrefSource, Via};
    matches!(attribute, Encap(_) | Gateway(_) | MultiPath(_) | NhId(_) | PrefSource(_) | Via(_))
}

/// The family as rtnetlink says it.
pub(crate) fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(rule: RuleMessage, attributes: &[RuleAttribute]) -> RuleMessage {
        let mut rule = rule;
        rule.attributes.extend_from_slice(attributes);
        rule
    }

    fn without(rule: RuleMessage, is_gone: impl Fn(&RuleAttribute) -> bool) -> RuleMessage {
        let mut rule = rule;
        rule.attributes.retain(|attribute| !is_gone(attribute));
        rule
    }

    #[test]
    fn a_rule_is_ours_by_priority_and_protocol() {
        for wanted in Place::ALL {
            let rule = wanted.rule(Family::V4);
            assert_eq!(place(&rule), Some(wanted));
            assert_eq!(place(&wanted.any(Family::V6)), Some(wanted));
            let mut of_others = without(rule.clone(), |found| matches!(found, RuleAttribute::Protocol(_)));
            of_others.attributes.push(RuleAttribute::Protocol(RouteProtocol::Static));
            assert_eq!(place(&of_others), None);
            let mut elsewhere = without(rule, |found| matches!(found, RuleAttribute::Priority(_)));
            elsewhere.attributes.push(RuleAttribute::Priority(99));
            assert_eq!(place(&elsewhere), None);
        }
    }

    fn check(rule: &RuleMessage, place: Place, expected: bool) {
        assert_eq!(is_right(rule, place, Family::V4), expected, "{rule:?}");
    }

    #[test]
    fn a_rule_is_right_if_it_says_the_same_and_nothing_more() {
        for place in Place::ALL {
            let rule = place.rule(Family::V4);
            check(&rule, place, true);
            check(&with(rule.clone(), &[RuleAttribute::SuppressPrefixLen(u32::MAX)]), place, true);
            check(&with(rule.clone(), &[RuleAttribute::SuppressPrefixLen(0)]), place, false);
            check(&with(rule.clone(), &[RuleAttribute::Oifname("eth0".to_owned())]), place, false);
            check(&with(rule.clone(), &[RuleAttribute::Table(254)]), place, false);
            check(&place.rule(Family::V6), place, false);
            let mut inverted = rule;
            inverted.header.flags.insert(RuleFlags::Invert);
            check(&inverted, place, false);
        }
        let goto = with(
            without(Place::Own.rule(Family::V4), |attribute| matches!(attribute, RuleAttribute::Goto(_))),
            &[RuleAttribute::Goto(104)],
        );
        check(&goto, Place::Own, false);
        check(&Place::Behind.any(Family::V4), Place::Behind, false);
    }

    #[test]
    fn a_route_is_ours_by_table_and_protocol() {
        let ours = route(Family::V6);
        assert!(is_our_route(&ours));
        let mut of_others = ours.clone();
        of_others.header.protocol = RouteProtocol::Static;
        assert!(!is_our_route(&of_others));
        let mut elsewhere = ours;
        elsewhere.attributes[0] = RouteAttribute::Table(TABLE + 1);
        assert!(!is_our_route(&elsewhere));
    }

    #[test]
    fn a_route_is_right_if_it_takes_everything_to_lo() {
        let right = route(Family::V4);
        assert!(is_right_route(&right, Family::V4));
        assert!(!is_right_route(&right, Family::V6));
        let mut narrow = right.clone();
        narrow.header.destination_prefix_length = 8;
        assert!(!is_right_route(&narrow, Family::V4));
        let mut forwarded = right.clone();
        forwarded.header.kind = RouteType::Unicast;
        assert!(!is_right_route(&forwarded, Family::V4));
        let mut elsewhere = right;
        elsewhere.attributes[1] = RouteAttribute::Oif(2);
        assert!(!is_right_route(&elsewhere, Family::V4));
    }
}
