//! What the kernel holds, in the words of the desired state.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use backend_api::{
    Affinity, EndpointAddress, Family, FrontendKey, FrontendKind, Masquerade, Observed, ObservedAnswer,
    ObservedFrontend, ObservedOffload, ObservedRoute, Pool, SourceRanges,
};

use crate::assign::first_slot;
use crate::content::Content;
use crate::ruleset::code::masquerade_of;
use crate::ruleset::{By, ChainName, Element, FLOWTABLE, Key, Mark, Policy, SetName, Tag, Value, value_at};
use netlink::nftables::expr::CtDirection;
use netlink::nftables::{Expr, Rule};

/// The endpoints that answer a mark, each with its share.
pub(crate) type Servers<'a> = dyn Fn(Mark) -> BTreeMap<EndpointAddress, u32> + Sync + 'a;

/// Adds every frontend in one of our tables.
pub(crate) fn observe(content: &Content, family: Family, servers: &Servers<'_>, into: &mut Observed) {
    let default = cluster_default(content);
    let view = View { elements: &content.elements, family, servers };
    for (element, counter) in &content.counters {
        let (SetName::Services(by), Key::Frontend(frontend), Value::Code(code)) =
            (element.set, element.key, element.value)
        else {
            continue;
        };
        let Some(policy) = Policy::of(code) else { continue };
        let observed = view.frontend((frontend, by), policy, default);
        into.frontends.insert(frontend, ObservedFrontend { connections: counter.packets, ..observed });
    }
}

/// How connections are handed over: the chain draws, and the flowtable has the devices.
pub(crate) fn offload(content: &Content) -> Option<ObservedOffload> {
    let flowtable = content.flowtables.iter().find(|flowtable| flowtable.name == FLOWTABLE)?;
    let chain = ChainName::Fastpath.to_string();
    let mut exprs = content.rules.iter().filter(|rule| rule.chain == chain).flat_map(|rule| &rule.exprs);
    let after = exprs.find_map(|expr| match expr {
        Expr::NumgenRandom { modulus, .. } => NonZeroU32::new(*modulus),
        _ => None,
    })?;
    Some(ObservedOffload { after, devices: flowtable.devices.clone() })
}

/// The elements of one table, and what the marks in them mean.
struct View<'a> {
    elements: &'a [Element],
    family: Family,
    servers: &'a Servers<'a>,
}

impl View<'_> {
    fn frontend(&self, at: (FrontendKey, By), policy: Policy, cluster_default: Masquerade) -> ObservedFrontend {
        let (frontend, by) = at;
        let kind = self.kind(frontend);
        let (inside, outside) = match policy {
            Policy::Split => (self.policy(SetName::Inside(by), frontend), self.policy(SetName::Outside(by), frontend)),
            _ => (Some(policy), None),
        };
        let route = match policy {
            Policy::Split => {
                ObservedRoute::Split { inside: self.answer(at, inside), outside: self.answer(at, outside) }
            }
            _ => ObservedRoute::Everyone(self.answer(at, inside)),
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

    fn kind(&self, frontend: FrontendKey) -> FrontendKind {
        match frontend {
            FrontendKey::NodePort { .. } => FrontendKind::NodePort,
            FrontendKey::Address { address, .. } if self.has(SetName::ClusterIps, Key::Address(address)) => {
                FrontendKind::ClusterIp
            }
            FrontendKey::Address { .. } => FrontendKind::External,
        }
    }

    fn policy(&self, set: SetName, frontend: FrontendKey) -> Option<Policy> {
        match self.value(set, Key::Frontend(frontend))? {
            Value::Code(code) => Policy::of(code),
            _ => None,
        }
    }

    /// What clients meet; without a policy their packets are dropped.
    fn answer(&self, at: (FrontendKey, By), policy: Option<Policy>) -> ObservedAnswer {
        let shares = match policy {
            Some(Policy::Refuse) => return ObservedAnswer::Reject,
            None | Some(Policy::Drop | Policy::Split) => return ObservedAnswer::Drop,
            Some(Policy::Pick(pool, size)) => self.shares(numbers(pool, size).filter_map(|slot| self.plain(at, slot))),
            Some(Policy::Sticky(pool, size)) => {
                self.shares(numbers(pool, size).filter_map(|index| self.sticky(at, index)))
            }
        };
        if shares.is_empty() { ObservedAnswer::Reject } else { ObservedAnswer::Balance(shares) }
    }

    /// How often each endpoint is meant by the values of slots.
    fn shares(&self, values: impl Iterator<Item = Value>) -> BTreeMap<EndpointAddress, u32> {
        let mut shares = BTreeMap::new();
        for value in values {
            match value {
                Value::Endpoint(endpoint) => *shares.entry(endpoint).or_insert(0) += 1,
                Value::Mark(mark) => {
                    for (endpoint, share) in (self.servers)(mark) {
                        *shares.entry(endpoint).or_insert(0) += share;
                    }
                }
                _ => {}
            }
        }
        shares
    }

    fn plain(&self, (frontend, by): (FrontendKey, By), slot: u32) -> Option<Value> {
        self.value(SetName::Endpoints(by), Key::Slot(frontend, slot))
    }

    fn sticky(&self, at: (FrontendKey, By), index: u32) -> Option<Value> {
        let (frontend, by) = at;
        let tag = self.tag(at, index)?;
        self.value(SetName::StickyEndpoints(by), Key::Remembered(frontend, tag.slot))
    }

    fn affinity(&self, at: (FrontendKey, By), policies: [Option<Policy>; 2]) -> Affinity {
        let tag = policies.into_iter().flatten().find_map(|policy| match policy {
            Policy::Sticky(pool, _) => self.tag(at, first_slot(pool)),
            _ => None,
        });
        // Without an endpoint nothing is drawn, and nothing needs to be remembered.
        match tag.and_then(|tag| NonZeroU32::new(tag.timeout)) {
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
        value_at(self.elements, (self.family, set, key))
    }
}

/// The numbers that are drawn from in a pool of that size.
fn numbers(pool: Pool, size: u16) -> impl Iterator<Item = u32> {
    (first_slot(pool)..).take(size.into())
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
    let about_all = content.rules.iter().filter(|rule| rule.chain == chain && is_about_cluster_addresses(rule));
    let ends: Vec<Option<&Expr>> = about_all.map(|rule| rule.exprs.last()).collect();
    match ends[..] {
        [Some(Expr::Masquerade { .. })] => Masquerade::Always,
        // Pods are let go first.
        [Some(Expr::Verdict(_)), Some(Expr::Masquerade { .. })] => Masquerade::UnlessPod,
        _ => Masquerade::Never,
    }
}

/// Whether a rule looks the dialled address up among the cluster addresses.
fn is_about_cluster_addresses(rule: &Rule) -> bool {
    let mut is_dialled = false;
    let mut is_looked_up = false;
    for expr in &rule.exprs {
        is_dialled |= matches!(expr, Expr::Ct { direction: Some(CtDirection::Original), .. });
        is_looked_up |= matches!(expr, Expr::Lookup { set, .. } if set == SetName::ClusterIps.as_str());
    }
    is_dialled && is_looked_up
}
