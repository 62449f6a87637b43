//! Laws of the allocator, against an oracle that is too simple to be wrong.

mod oracle;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use backend_api::{Age, Family, Protocol, ServiceName};
use oracle::{Said, World};
use proptest::prelude::*;
use switchyard_allocation::{
    AddressRange, Allocator, Assign, Avoid, Demand, Edit, FamilyPolicy, Labels, Options, OutsidePools, Pool, PoolName,
    Requested, Selector, Service, ServiceAllocation, Sharing, SharingKey, plan,
};

/// Few of everything, so that pools overlap and services collide.
const RANGES: [&str; 9] = [
    "10.0.0.0/30",
    "10.0.0.2-10.0.0.5",
    "10.0.0.254-10.0.1.1",
    "10.0.0.4/32",
    "10.0.0.0-10.0.0.6",
    "fd00::/126",
    "fd00::2-fd00::3",
    "fd00::3-fd00::6",
    "fd00::/125",
];
const ADDRESSES: [&str; 10] = [
    "10.0.0.0",
    "10.0.0.1",
    "10.0.0.3",
    "10.0.0.4",
    "10.0.0.255",
    "10.0.9.9",
    "fd00::",
    "fd00::2",
    "fd00::3",
    "fd00::5",
];
const GRACE: u64 = 5;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Edits(Vec<Change>),
    Wait(u64),
}

#[derive(Clone, Debug)]
enum Change {
    Pool(Pool),
    PoolGone(PoolName),
    /// The status is what the allocator said, if the service is known to it.
    Service(Service),
    /// The status was edited by hand.
    HandEdited(Service),
    ServiceGone(ServiceName),
    Namespace(String, Labels),
    NamespaceGone(String),
}

fn tier(value: &str) -> Labels {
    Labels::from([("tier".to_owned(), value.to_owned())])
}

fn labels() -> impl Strategy<Value = Labels> {
    prop::sample::select(vec![Labels::new(), tier("gold"), tier("tin")])
}

fn selectors() -> impl Strategy<Value = Vec<Selector>> {
    let gold = Selector { match_labels: tier("gold"), ..Selector::default() };
    prop::sample::select(vec![vec![], vec![], vec![gold]])
}

fn pool_name() -> impl Strategy<Value = PoolName> {
    prop::sample::select(vec!["p", "q", "r", "s"]).prop_map(PoolName::from)
}

fn service_allocation() -> impl Strategy<Value = ServiceAllocation> {
    let namespaces = prop::sample::select(vec![vec![], vec!["a".to_owned()]]);
    (0..3u32, namespaces, selectors(), selectors()).prop_map(
        |(priority, namespaces, namespace_selectors, service_selectors)| ServiceAllocation {
            priority,
            namespaces,
            namespace_selectors,
            service_selectors,
        },
    )
}

fn pool() -> impl Strategy<Value = Pool> {
    let ranges = prop::collection::vec(prop::sample::select(RANGES.to_vec()), 0..4);
    let assign = prop_oneof![4 => Just(Assign::Automatic), 1 => Just(Assign::OnRequest)];
    let avoid = prop_oneof![3 => Just(Avoid::Nothing), 1 => Just(Avoid::Buggy)];
    (pool_name(), 0..3i128, ranges, assign, avoid, prop::option::weighted(0.3, service_allocation())).prop_map(
        |(name, age, ranges, assign, avoid, service_allocation)| Pool {
            age: Age(age),
            assign,
            avoid,
            service_allocation,
            ..Pool::new(&name, ranges.iter().map(|text| AddressRange::parse(text).unwrap().0).collect())
        },
    )
}

fn service_name() -> impl Strategy<Value = ServiceName> {
    (prop::sample::select(vec!["a", "b"]), 0..5u8)
        .prop_map(|(namespace, number)| ServiceName::new(namespace, &format!("s{number}")))
}

fn demand() -> impl Strategy<Value = Demand> {
    let policy = prop::sample::select(vec![
        FamilyPolicy::SingleStack,
        FamilyPolicy::PreferDualStack,
        FamilyPolicy::PreferDualStack,
        FamilyPolicy::RequireDualStack,
    ]);
    let families = prop::sample::select(vec![
        vec![Family::V4],
        vec![Family::V6],
        vec![Family::V4, Family::V6],
        vec![Family::V6, Family::V4],
        vec![Family::V4, Family::V6],
        vec![],
    ]);
    prop_oneof![
        1 => Just(Demand::Nothing),
        12 => (families, policy).prop_map(|(families, policy)| Demand::OneOfEach { families, policy }),
    ]
}

fn addresses(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<IpAddr>> {
    let address = prop::sample::select(ADDRESSES.to_vec()).prop_map(|text| text.parse().unwrap());
    prop::collection::vec(address, count)
}

fn requested() -> impl Strategy<Value = Requested> {
    prop_oneof![
        8 => Just(Requested::Any),
        4 => addresses(1..3).prop_map(Requested::These),
        1 => Just(Requested::Unreadable("both are set".to_owned())),
    ]
}

fn sharing_key() -> impl Strategy<Value = Option<SharingKey>> {
    let key = prop::sample::select(vec!["k", "k", "l"]);
    let key = (key, labels()).prop_map(|(key, backends)| SharingKey { key: key.to_owned(), backends });
    prop::option::weighted(0.6, key)
}

fn service() -> impl Strategy<Value = Service> {
    let ports = prop::sample::subsequence(vec![(Protocol::Tcp, 80), (Protocol::Udp, 53), (Protocol::Tcp, 53)], 0..3);
    let pool = prop::option::weighted(0.2, pool_name());
    (service_name(), 0..3i128, labels(), demand(), requested(), pool, sharing_key(), ports, addresses(0..3)).prop_map(
        |(name, age, labels, demand, addresses, pool, sharing, ports, held)| Service {
            name,
            age: Age(age),
            labels,
            demand,
            addresses,
            pool,
            sharing,
            ports,
            held,
        },
    )
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => pool().prop_map(Change::Pool),
        1 => pool_name().prop_map(Change::PoolGone),
        8 => service().prop_map(Change::Service),
        2 => service().prop_map(Change::HandEdited),
        2 => service_name().prop_map(Change::ServiceGone),
        1 => (namespace(), labels()).prop_map(|(name, labels)| Change::Namespace(name, labels)),
        1 => namespace().prop_map(Change::NamespaceGone),
    ]
}

fn namespace() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a".to_owned(), "b".to_owned()])
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let edits = prop::collection::vec(change(), 1..4).prop_map(Step::Edits);
    prop::collection::vec(prop_oneof![9 => edits, 1 => (1..GRACE + 2).prop_map(Step::Wait)], 1..30)
}

fn options() -> impl Strategy<Value = Options> {
    let sharing = prop::sample::select(vec![Sharing::Anywhere, Sharing::Namespace]);
    let outside = prop::sample::select(vec![OutsidePools::Readdress, OutsidePools::Keep]);
    (sharing, outside).prop_map(|(sharing, outside_pools)| {
        let mut options = Options::default();
        (options.sharing, options.outside_pools) = (sharing, outside_pools);
        options
    })
}

/// The allocator, and beside it what it was told.
struct Player {
    allocator: Allocator,
    world: World,
    leaving: BTreeMap<PoolName, (Pool, u64)>,
    now: u64,
}

impl Player {
    fn new(options: Options) -> Self {
        let world = World { options, ..World::default() };
        Self { allocator: Allocator::new(options), world, leaving: BTreeMap::new(), now: 0 }
    }

    fn play(&mut self, step: Step) {
        let changes = match step {
            Step::Edits(changes) => changes,
            Step::Wait(seconds) => {
                self.now += seconds;
                Vec::new()
            }
        };
        self.leaving.retain(|_, (_, until)| self.now < *until);
        let edits: Vec<Edit> = changes.into_iter().map(|change| self.note(change)).collect();
        self.world.leaving = self.leaving.values().map(|(pool, _)| pool.clone()).collect();
        self.allocator.apply(edits, Duration::from_secs(self.now));
    }

    fn note(&mut self, change: Change) -> Edit {
        let world = &mut self.world;
        match change {
            Change::Pool(pool) => {
                world.pools.retain(|other| other.name != pool.name);
                world.pools.push(pool.clone());
                self.leaving.remove(&pool.name);
                Edit::Pool(pool)
            }
            Change::PoolGone(name) => {
                if let Some(index) = world.pools.iter().position(|pool| pool.name == name) {
                    self.leaving.insert(name.clone(), (world.pools.remove(index), self.now + GRACE));
                }
                Edit::PoolGone(name)
            }
            Change::Service(mut service) => {
                if let Some(known) = world.services.iter().find(|known| known.name == service.name) {
                    service.held = known.held.clone();
                }
                self.note(Change::HandEdited(service))
            }
            Change::HandEdited(service) => {
                world.services.retain(|other| other.name != service.name);
                world.services.push(service.clone());
                Edit::Service(service)
            }
            Change::ServiceGone(name) => {
                world.services.retain(|service| service.name != name);
                Edit::ServiceGone(name)
            }
            Change::Namespace(name, labels) => {
                world.namespaces.insert(name.clone(), labels.clone());
                Edit::Namespace(name, labels)
            }
            Change::NamespaceGone(name) => {
                world.namespaces.remove(&name);
                Edit::NamespaceGone(name)
            }
        }
    }

    fn said(&self) -> BTreeMap<ServiceName, Said> {
        let verdicts = self.allocator.verdicts().map(|(name, verdict)| {
            let said = Said {
                addresses: verdict.addresses.clone(),
                pool: verdict.pool.as_ref().map(ToString::to_string),
                reason: verdict.problem.as_ref().map(|problem| problem.reason()),
            };
            (name.clone(), said)
        });
        verdicts.collect()
    }

    /// Every service's status is what the allocator said.
    fn write(&mut self, said: &BTreeMap<ServiceName, Said>) {
        for service in &mut self.world.services {
            service.held = said[&service.name].addresses.clone();
        }
    }

    fn check_sharing(&self, said: &BTreeMap<ServiceName, Said>) {
        let services = &self.world.services;
        for (index, one) in services.iter().enumerate() {
            for other in &services[index + 1..] {
                let both = said[&one.name].addresses.iter().find(|own| said[&other.name].addresses.contains(own));
                let clash = self.world.clash(one, other);
                assert!(both.is_none() || clash.is_none(), "{}, {}: {both:?}, {clash:?}", one.name, other.name);
            }
        }
    }

    fn check_counts(&self, said: &BTreeMap<ServiceName, Said>) {
        let counts: BTreeMap<_, _> = self.allocator.counts().collect();
        assert_eq!(counts.len(), self.world.pools.len());
        for pool in &self.world.pools {
            for family in Family::ALL {
                let own = counts[&pool.name];
                let own = (*own.assigned.of(family), *own.available.of(family));
                assert_eq!(own, self.world.counts(pool, family, said), "pool {} {family:?}", pool.name);
            }
        }
    }

    /// What a process says that begins now: it knows nothing of pools that are gone.
    fn check_plan(&self) {
        let World { options, pools, services, namespaces, .. } = self.world.clone();
        let plan = plan(options, pools, services, namespaces);
        let verdicts: BTreeMap<_, _> = self.allocator.verdicts().collect();
        for (name, decision) in &plan.decisions {
            assert_eq!(Some(&&decision.verdict), verdicts.get(name), "{name}");
            assert_eq!((&decision.given, &decision.lost), (&vec![], &vec![]), "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn edits_one_by_one_end_where_a_plan_from_scratch_would(options in options(), steps in steps()) {
        let mut player = Player::new(options);
        for step in steps {
            player.play(step);
            let said = player.said();
            prop_assert_eq!(&said, &player.world.plan());
            player.check_sharing(&said);
            player.check_counts(&said);
            player.write(&said);
            // A second plan changes nothing.
            prop_assert_eq!(&said, &player.world.plan());
            if player.world.leaving.is_empty() {
                player.check_plan();
            }
        }
    }

    #[test]
    fn what_is_held_is_adopted_before_anything_is_given(
        options in options(),
        pools in prop::collection::vec(pool(), 1..4),
        services in prop::collection::vec(service(), 2..10),
    ) {
        let services: BTreeMap<_, _> = services.into_iter().map(|service| (service.name.clone(), service)).collect();
        let decided = plan(options, pools, services.values().cloned(), []).decisions;
        for decision in decided.values() {
            for lost in &decision.lost {
                if let switchyard_allocation::LostBecause::Taken { by, .. } = &lost.because {
                    prop_assert!(services[by].held.contains(&lost.address), "{}: {}", decision.service, lost);
                }
            }
        }
    }

    #[test]
    fn a_pool_that_has_nothing_of_its_own_changes_no_address(
        options in options(),
        pools in prop::collection::vec(pool(), 1..4),
        services in prop::collection::vec(service(), 1..8),
        bad in pool(),
    ) {
        let pools: BTreeMap<_, _> = pools.into_iter().map(|pool| (pool.name.clone(), pool)).collect();
        let pools: Vec<Pool> = pools.into_values().collect();
        let listed: BTreeSet<_> = pools.iter().flat_map(|pool| pool.ranges.clone()).collect();
        let name = "a-bad-one";
        let bad = Pool { name: name.into(), age: Age(9), ranges: listed.into_iter().collect(), ..bad };
        let services = services.into_iter().filter(|service| service.pool.as_deref() != Some(name));
        let services: Vec<_> = services.collect();
        let without = given(options, pools.clone(), &services);
        prop_assert_eq!(without, given(options, [pools, vec![bad]].concat(), &services));
    }
}

fn given(options: Options, pools: Vec<Pool>, services: &[Service]) -> Vec<(ServiceName, Vec<IpAddr>)> {
    let decisions = plan(options, pools, services.to_vec(), []).decisions.into_values();
    decisions.map(|decision| (decision.service, decision.verdict.addresses)).collect()
}
