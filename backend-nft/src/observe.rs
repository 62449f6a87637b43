//! What the kernel holds, in the words of the desired state.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use backend_api::{
    Affinity, EndpointAddress, Family, FrontendKey, FrontendKind, Masquerade, Observed, ObservedAnswer,
    ObservedFrontend, ObservedOffload, ObservedRoute, SourceRanges,
};

use crate::assign::first_slot;
use crate::content::Content;
use crate::ruleset::code::masquerade_of;
use crate::ruleset::{By, ChainName, Element, FLOWTABLE, Key, Mark, Policy, SetName, Tag, Value};
use netlink::nftables as kernel;
use netlink::nftables::Expr;
use netlink::nftables::expr::CtDirection;

/// Who answers a mark, each with its share.
pub(crate) type Servers<'a> = dyn Fn(Mark) -> BTreeMap<EndpointAddress, u32> + Sync + 'a;

/// Every frontend in one of our tables.
pub(crate) fn observe(content: &Content, family: Family, servers: &Servers<'_>, into: &mut Observed) {
    let cluster_default = cluster_default(content);
    let view = View { elements: &content.elements, family, servers };
    for (element, counter) in &content.counters {
        let (SetName::Services(by), Key::Frontend(frontend), Value::Code(code)) =
            (element.set, element.key, element.value)
        else {
            continue;
        };
        let Some(policy) = Policy::of(code) else { continue };
        let observed = view.frontend((frontend, by), policy, cluster_default);
        into.frontends.insert(frontend, ObservedFrontend { connections: counter.packets, ..observed });
    }
}

/// How connections are handed over: the chain draws, and the flowtable has the devices.
pub(crate) fn offload(content: &Content) -> Option<ObservedOffload> {
    let flowtable = content.flowtables.iter().find(|flowtable| flowtable.name == FLOWTABLE)?;
    let chain = ChainName::Fastpath.to_string();
    let exprs = content.rules.iter().filter(|rule| rule.chain == chain).flat_map(|rule| &rule.exprs);
    let drawn = |expr: &Expr| match expr {
        Expr::NumgenRandom { modulus, .. } => NonZeroU32::new(*modulus),
        _ => None,
    };
    Some(ObservedOffload { after: exprs.filter_map(drawn).next()?, devices: flowtable.devices.clone() })
}

struct View<'a> {
    elements: &'a [Element],
    family: Family,
    servers: &'a Servers<'a>,
}

impl View<'_> {
    fn frontend(&self, at: (FrontendKey, By), policy: Policy, cluster_default: Masquerade) -> ObservedFrontend {
        let (frontend, by) = at;
        let kind = match frontend {
            FrontendKey::NodePort { .. } => FrontendKind::NodePort,
            FrontendKey::Address { address, .. } if self.has(SetName::ClusterIps, Key::Address(address)) => {
                FrontendKind::ClusterIp
            }
            FrontendKey::Address { .. } => FrontendKind::External,
        };
        let side = |set| match self.value(set, Key::Frontend(frontend)) {
            Some(Value::Code(code)) => Policy::of(code),
            _ => None,
        };
        let (inside, outside) = match policy {
            Policy::Split => (side(SetName::Inside(by)), side(SetName::Outside(by))),
            _ => (Some(policy), None),
        };
        let answer = |policy: Option<Policy>| policy.map_or(ObservedAnswer::Drop, |policy| self.answer(at, policy));
        let route = match policy {
            Policy::Split => ObservedRoute::Split { inside: answer(inside), outside: answer(outside) },
            _ => ObservedRoute::Everyone(answer(inside)),
        };
        let default = match kind {
            FrontendKind::ClusterIp => cluster_default,
            FrontendKind::External | FrontendKind::NodePort => Masquerade::Never,
        };
        ObservedFrontend {
            kind,
            route,
            masquerade: self.masquerade(frontend, by).unwrap_or(default),
            affinity: self.affinity(at, [inside, outside]),
            source_ranges: self.source_ranges(frontend, by),
            connections: 0,
        }
    }

    fn answer(&self, at: (FrontendKey, By), policy: Policy) -> ObservedAnswer {
        let (frontend, by) = at;
        let mut shares = BTreeMap::new();
        let mut count = |answer: Option<Value>| match answer {
            Some(Value::Endpoint(endpoint)) => *shares.entry(endpoint).or_insert(0) += 1,
            Some(Value::Mark(mark)) => {
                (self.servers)(mark)
                    .into_iter()
                    .for_each(|(endpoint, share)| *shares.entry(endpoint).or_insert(0) += share);
            }
            _ => {}
        };
        match policy {
            Policy::Refuse => return ObservedAnswer::Reject,
            Policy::Drop | Policy::Split => return ObservedAnswer::Drop,
            Policy::Pick(pool, size) => {
                for slot in (first_slot(pool)..).take(size.into()) {
                    count(self.value(SetName::Endpoints(by), Key::Slot(frontend, slot)));
                }
            }
            Policy::Sticky(pool, size) => {
                for index in (first_slot(pool)..).take(size.into()) {
                    let tag = self.tag(at, index);
                    let endpoint =
                        |tag: Tag| self.value(SetName::StickyEndpoints(by), Key::Remembered(frontend, tag.slot));
                    count(tag.and_then(endpoint));
                }
            }
        }
        if shares.is_empty() { ObservedAnswer::Reject } else { ObservedAnswer::Balance(shares) }
    }

    fn affinity(&self, at: (FrontendKey, By), policies: [Option<Policy>; 2]) -> Affinity {
        let timeout = policies.into_iter().flatten().find_map(|policy| match policy {
            Policy::Sticky(pool, _) => self.tag(at, first_slot(pool)),
            _ => None,
        });
        // Without an endpoint nothing is drawn, and nothing needs to be remembered.
        match timeout.and_then(|tag| NonZeroU32::new(tag.timeout)) {
            Some(timeout) => Affinity::ClientIp { timeout },
            None => Affinity::None,
        }
    }

    fn tag(&self, (frontend, by): (FrontendKey, By), index: u32) -> Option<Tag> {
        match self.value(SetName::StickyPicks(by), Key::Slot(frontend, index))? {
            Value::Code(code) => Some(Tag::of(code)),
            _ => None,
        }
    }

    fn masquerade(&self, frontend: FrontendKey, by: By) -> Option<Masquerade> {
        match self.value(SetName::Masquerade(by), Key::Frontend(frontend))? {
            Value::Code(code) => masquerade_of(code),
            _ => None,
        }
    }

    fn source_ranges(&self, frontend: FrontendKey, by: By) -> SourceRanges {
        if !self.has(SetName::Restricted(by), Key::Frontend(frontend)) {
            return SourceRanges::Any;
        }
        let first = self.elements.partition_point(|element| {
            (element.family, element.set) < (self.family, SetName::Allowed(by))
                || (element.set == SetName::Allowed(by) && dialled(element.key) < Some(frontend))
        });
        let own = self.elements[first..].iter().map_while(|element| match (element.set, element.key) {
            (SetName::Allowed(of), Key::Source(dialled, range)) if (of, dialled) == (by, frontend) => Some(range),
            _ => None,
        });
        SourceRanges::Only(own.collect())
    }

    fn has(&self, set: SetName, key: Key) -> bool {
        self.value(set, key).is_some()
    }

    fn value(&self, set: SetName, key: Key) -> Option<Value> {
        let place = (self.family, set, key);
        let at = self.elements.binary_search_by(|element| element.place().cmp(&place)).ok()?;
        Some(self.elements[at].value)
    }
}

fn dialled(key: Key) -> Option<FrontendKey> {
    match key {
        Key::Source(frontend, _) => Some(frontend),
        _ => None,
    }
}

/// What holds for cluster addresses that have no code: how the rules about all of them end.
fn cluster_default(content: &Content) -> Masquerade {
    let chain = ChainName::NatPostrouting.to_string();
    let about_all = |rule: &&kernel::Rule| {
        let dialled = |expr: &Expr| matches!(expr, Expr::Ct { direction: Some(CtDirection::Original), .. });
        let looked_up = |expr: &Expr| matches!(expr, Expr::Lookup { set, .. } if set == SetName::ClusterIps.as_str());
        rule.chain == chain && rule.exprs.iter().any(dialled) && rule.exprs.iter().any(looked_up)
    };
    let ends: Vec<Option<&Expr>> = content.rules.iter().filter(about_all).map(|rule| rule.exprs.last()).collect();
    match ends[..] {
        [Some(Expr::Masquerade { .. })] => Masquerade::Always,
        // Pods are let go first.
        [Some(Expr::Verdict(_)), Some(Expr::Masquerade { .. })] => Masquerade::UnlessPod,
        _ => Masquerade::Never,
    }
}
