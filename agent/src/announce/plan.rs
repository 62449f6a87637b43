//! What this node bids for: what the kernel forwards, joined with what the objects say is announced. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use allocation::{AddressRange, Pool};
use announce::election::Wish;
use announce::kernel::{Bid, Interfaces};
use announce::wire::heartbeat::Standing;
use backend_api::{Report, Scope, ServiceName, ServiceState};
use kubernetes::load_balancer::{self, AdvertisedObjects, Announced, NotAnnounced};
use kubernetes::source::Event;

use super::forwarded::{Forwarded, Offer};
use crate::allocate::own_pool;
use crate::config::{Announce, Config};

/// What of the configuration decides the bids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announces {
    node_name: Arc<str>,
    namespace: Arc<str>,
    class: Option<Box<str>>,
    pool: Vec<AddressRange>,
}

/// Why this node does not bid for an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBid {
    /// What the objects say.
    #[error(transparent)]
    NotAnnounced(#[from] NotAnnounced),
    /// The kernel does not have it.
    #[error("no service with this address is programmed on this node")]
    NotProgrammed,
    /// Clients from outside would meet silence.
    #[error("this node has no endpoint for clients from outside, and externalTrafficPolicy is Local")]
    NoEndpointHere,
}

/// The bids, kept up with the loop's news.
#[derive(Debug, Default)]
pub struct Plan {
    announces: Option<Announces>,
    forwarded: Forwarded,
    objects: Option<AdvertisedObjects>,
    announced: BTreeMap<IpAddr, Result<Announced, NotAnnounced>>,
    bids: BTreeMap<IpAddr, Bid>,
    reasons: BTreeMap<IpAddr, NoBid>,
    /// Addresses whose reason is another than before, and was not told yet.
    new_reasons: BTreeSet<IpAddr>,
}

impl Announces {
    /// Whether both come from the same objects.
    fn reads_what(&self, other: &Self) -> bool {
        (&self.node_name, &self.namespace) == (&other.node_name, &other.namespace)
    }

    /// What is announced; nothing where announcing is off.
    pub fn of(config: &Config) -> Option<Self> {
        let announcing = &config.announcing;
        (announcing.announce == Announce::On).then(|| Self {
            node_name: config.node_name.as_str().into(),
            namespace: announcing.namespace.clone(),
            class: announcing.class.clone(),
            pool: announcing.pool.clone(),
        })
    }

    fn own_pool(&self) -> Option<Pool> {
        own_pool(self.pool.clone())
    }
}

impl Plan {
    /// From now on this is announced. Objects of another namespace or node have to be told again. Whether
    /// something changed.
    pub fn configure(&mut self, announces: Option<Announces>) -> bool {
        if self.announces == announces {
            return false;
        }
        if let Some(now) = &announces {
            if !self.announces.as_ref().is_some_and(|before| before.reads_what(now)) {
                self.objects = None;
            }
            let class = now.class.as_deref();
            let objects =
                self.objects.get_or_insert_with(|| AdvertisedObjects::new(&now.node_name, &now.namespace, class));
            objects.set_class(class);
            objects.set_own_pool(now.own_pool());
        } else {
            self.objects = None;
        }
        self.announces = announces;
        self.join_all()
    }

    /// Takes what a source tells. Whether bids or reasons changed.
    pub fn told(&mut self, events: &[Event]) -> bool {
        let changed = self.objects.as_mut().is_some_and(|objects| objects.take(events));
        changed && self.join_all()
    }

    /// Takes what was synced. Whether bids or reasons changed.
    pub fn synced(&mut self, state: &ServiceState, scope: Scope<'_>, report: &Report) -> bool {
        let changed = self.forwarded.update(state, scope, report);
        changed.into_iter().filter(|address| self.join(*address)).count() > 0
    }

    /// All that this node bids for.
    pub fn bids(&self) -> &BTreeMap<IpAddr, Bid> {
        &self.bids
    }

    /// Why this node does not bid for other addresses that services have.
    pub fn reasons(&self) -> &BTreeMap<IpAddr, NoBid> {
        &self.reasons
    }

    /// The reasons that were not taken before.
    pub(super) fn take_new_reasons(&mut self) -> Vec<(IpAddr, NoBid)> {
        let addresses = std::mem::take(&mut self.new_reasons).into_iter();
        addresses.filter_map(|address| Some((address, self.reasons.get(&address)?.clone()))).collect()
    }

    /// The services of an address.
    pub fn services(&self, address: IpAddr) -> impl Iterator<Item = &ServiceName> {
        self.forwarded.services(address)
    }

    fn join_all(&mut self) -> bool {
        let now = self.objects.as_ref().map(AdvertisedObjects::announced).unwrap_or_default();
        let before = std::mem::replace(&mut self.announced, now);
        let addresses: BTreeSet<IpAddr> = before.into_keys().chain(self.announced.keys().copied()).collect();
        addresses.into_iter().filter(|address| self.join(*address)).count() > 0
    }

    /// Decides about one address; whether its bid or its reason changed.
    fn join(&mut self, address: IpAddr) -> bool {
        let decided = self.announced.get(&address).map(|announced| bid(announced, self.forwarded.offer(address)));
        let (bid, reason) = match decided {
            Some(Ok(bid)) => (Some(bid), None),
            Some(Err(reason)) => (None, Some(reason)),
            None => (None, None),
        };
        let other_reason = put(&mut self.reasons, address, reason);
        if other_reason {
            self.new_reasons.insert(address);
        }
        put(&mut self.bids, address, bid) || other_reason
    }
}

fn bid(announced: &Result<Announced, NotAnnounced>, offer: Option<Offer>) -> Result<Bid, NoBid> {
    let Announced { score, interfaces, order_key } = announced.as_ref().map_err(Clone::clone)?;
    let standing = match offer {
        Some(Offer::Endpoint) => Standing::Sound,
        Some(Offer::Refusal) => Standing::LastResort,
        Some(Offer::Silence) => return Err(NoBid::NoEndpointHere),
        None => return Err(NoBid::NotProgrammed),
    };
    let interfaces = match interfaces {
        load_balancer::Interfaces::All => Interfaces::OnLink,
        load_balancer::Interfaces::These(names) => {
            Interfaces::Named(names.iter().map(|name| name.to_string()).collect())
        }
    };
    Ok(Bid { wish: Wish { preference: *score, standing, first: *order_key }, interfaces })
}

/// Puts a value in its place, or takes it away; whether that changes something.
fn put<T: PartialEq>(values: &mut BTreeMap<IpAddr, T>, address: IpAddr, now: Option<T>) -> bool {
    if values.get(&address) == now.as_ref() {
        return false;
    }
    match now {
        Some(now) => drop(values.insert(address, now)),
        None => drop(values.remove(&address)),
    }
    true
}

#[cfg(test)]
mod tests {
    use backend_api::{Answer, Pool, Route};

    use super::super::tests::{ADDRESS, events, failed, service, state};
    use super::*;

    const POOL: &str = "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\n\
        metadata: {name: p, namespace: metallb-system}\nspec: {addresses: [192.168.67.240/29]}\n---\n";
    const EVERYWHERE: &str = "apiVersion: metallb.io/v1beta1\nkind: L2Advertisement\n\
        metadata: {name: a, namespace: metallb-system}\nspec: {}\n---\n";
    const ON_ETH1: &str = "apiVersion: metallb.io/v1beta1\nkind: L2Advertisement\n\
        metadata: {name: a, namespace: metallb-system}\nspec: {interfaces: [eth1]}\n---\n";
    const WEB: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n\
        spec: {type: LoadBalancer, clusterIP: 10.96.0.9, ports: [{port: 80}]}\n\
        status: {loadBalancer: {ingress: [{ip: 192.168.67.240}]}}\n---\n";
    const EXCLUDED: &str = "apiVersion: v1\nkind: Node\n\
        metadata: {name: node2, labels: {node.kubernetes.io/exclude-from-external-load-balancers: ''}}\n";

    fn announces(pool: &[&str]) -> Option<Announces> {
        let pool = pool.iter().map(|text| AddressRange::parse(text).unwrap().0).collect();
        Some(Announces { node_name: "node2".into(), namespace: "metallb-system".into(), class: None, pool })
    }

    fn words(plan: &Plan) -> String {
        match (plan.bids().get(&ADDRESS), plan.reasons().get(&ADDRESS)) {
            (Some(Bid { wish, interfaces }), None) => format!("{:?} {interfaces:?}", wish.standing),
            (None, Some(reason)) => reason.to_string(),
            (None, None) => "nothing".to_owned(),
            both => panic!("{both:?}"),
        }
    }

    #[test]
    fn a_bid_needs_an_advertisement_and_an_answer() {
        let balance = Route::Everyone(Answer::Balance(Pool::Cluster));
        let dropped = Route::Split { inside: Answer::Balance(Pool::Cluster), outside: Answer::Drop };
        let not_programmed = "no service with this address is programmed on this node";
        for (objects, routes, expected) in [
            (format!("{POOL}{EVERYWHERE}{WEB}"), vec![(balance, 1)], "Sound OnLink"),
            (format!("{POOL}{ON_ETH1}{WEB}"), vec![(balance, 1)], "Sound Named({\"eth1\"})"),
            (format!("{POOL}{EVERYWHERE}{WEB}"), vec![(balance, 0)], "LastResort OnLink"),
            (
                format!("{POOL}{EVERYWHERE}{WEB}"),
                vec![(dropped, 1)],
                "this node has no endpoint for clients from outside, and externalTrafficPolicy is Local",
            ),
            (format!("{POOL}{EVERYWHERE}{WEB}"), vec![], not_programmed),
            (
                format!("{POOL}{WEB}"),
                vec![(balance, 1)],
                "no L2Advertisement selects pool p: it is given and not announced",
            ),
            (format!("{EVERYWHERE}{WEB}"), vec![(balance, 1)], "no pool has the address"),
            (
                format!("{POOL}{EVERYWHERE}{WEB}{EXCLUDED}"),
                vec![(balance, 1)],
                "the node has the label node.kubernetes.io/exclude-from-external-load-balancers",
            ),
            (format!("{POOL}{EVERYWHERE}"), vec![(balance, 1)], "nothing"),
        ] {
            let mut plan = Plan::default();
            plan.configure(announces(&[]));
            plan.told(&events(&objects));
            plan.synced(&state(vec![service("web", &routes)]), Scope::All, &Report::default());
            assert_eq!(words(&plan), expected, "{objects}");
            // In the other order it ends the same.
            let mut other = Plan::default();
            other.synced(&state(vec![service("web", &routes)]), Scope::All, &Report::default());
            other.configure(announces(&[]));
            other.told(&events(&objects));
            assert_eq!(words(&other), expected, "{objects}");
        }
    }

    fn answered() -> ServiceState {
        state(vec![service("web", &[(Route::Everyone(Answer::Balance(Pool::Cluster)), 1)])])
    }

    #[test]
    fn each_change_says_whether_something_changed() {
        let web = answered();
        let all = format!("{POOL}{EVERYWHERE}{WEB}");
        let mut plan = Plan::default();
        assert!(!plan.synced(&web, Scope::All, &Report::default()));
        assert!(!plan.told(&events(&all)), "nothing is announced yet");
        assert!(!plan.configure(announces(&[])), "objects are to be told again");
        assert!(plan.told(&events(&all)));
        assert!(!plan.told(&events(&all)));
        assert!(!plan.synced(&web, Scope::All, &Report::default()));
        assert!(plan.synced(&web, Scope::All, &failed("web")));
        assert_eq!(words(&plan), "no service with this address is programmed on this node");
        assert!(plan.synced(&web, Scope::All, &Report::default()));
        assert_eq!(plan.services(ADDRESS).map(ToString::to_string).collect::<Vec<_>>(), ["default/web"]);
        let other_class = announces(&[]).map(|announces| Announces { class: Some("other".into()), ..announces });
        assert!(plan.configure(other_class));
        assert_eq!(words(&plan), "nothing");
        assert!(plan.configure(announces(&[])));
        assert!(plan.configure(None));
        assert_eq!(words(&plan), "nothing");
    }

    #[test]
    fn a_range_of_the_configuration_needs_no_object() {
        let web = answered();
        let mut plan = Plan::default();
        plan.configure(announces(&["192.168.67.240-192.168.67.250"]));
        plan.told(&events(WEB));
        assert!(plan.synced(&web, Scope::All, &Report::default()));
        assert_eq!(words(&plan), "Sound OnLink");
        assert!(plan.configure(announces(&[])));
        assert_eq!(words(&plan), "no pool has the address");
    }
}
