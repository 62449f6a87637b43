//! What the allocator knows of a service.

use std::cmp::Ordering;
use std::net::IpAddr;

use backend_api::{Age, Family, Protocol, ServiceName};

use crate::{Labels, PoolName};

/// A service of the class that the allocator is for. Services of another class are not told to it: what they have is not
/// its matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// The older of two services decides first.
    pub age: Age,
    /// Its labels.
    pub labels: Labels,
    /// Whether it wants addresses at all.
    pub demand: Demand,
    /// Asked for by address.
    pub addresses: Requested,
    /// Asked for by name.
    pub pool: Option<PoolName>,
    /// With which services it may have one address.
    pub sharing: Option<SharingKey>,
    /// What it is dialled at, once each.
    pub ports: Vec<(Protocol, u16)>,
    /// What it has by now: the addresses of its status. The one thing that the allocator remembers from, so a caller
    /// whose write is on its way says what it writes.
    pub held: Vec<IpAddr>,
}

/// How many addresses a service wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    /// None: it is no LoadBalancer, or not any more. What it has is released.
    Nothing,
    /// One of each family.
    OneOfEach {
        /// Those of its cluster addresses, in their order; each once.
        families: Vec<Family>,
        /// What is to be done if there is one only.
        policy: FamilyPolicy,
    },
}

/// `ipFamilyPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FamilyPolicy {
    /// The first family.
    #[default]
    SingleStack,
    /// Both, or one if there is no more.
    PreferDualStack,
    /// Both, from one pool, or nothing.
    RequireDualStack,
}

/// Addresses that a service asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Requested {
    /// None in particular.
    #[default]
    Any,
    /// These.
    These(Vec<IpAddr>),
    /// The request cannot be read, or contradicts itself: why. The service keeps what it has and is given nothing.
    Unreadable(String),
}

/// Services share an address if their keys are equal and no port is in both.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SharingKey {
    /// What their owners agreed on.
    pub key: String,
    /// Under externalTrafficPolicy Local, which pods answer: a node that announces the address must have endpoints of
    /// all services on it. Empty under Cluster, where each node forwards to all.
    pub backends: Labels,
}

impl Service {
    /// A service with one TCP port and one IPv4 cluster address that asks for nothing in particular.
    pub fn new(name: ServiceName) -> Self {
        Self {
            name,
            age: Age::default(),
            labels: Labels::new(),
            demand: Demand::single(Family::V4),
            addresses: Requested::Any,
            pool: None,
            sharing: None,
            ports: vec![(Protocol::Tcp, 80)],
            held: Vec::new(),
        }
    }

    /// Older first, equals by name.
    pub(crate) fn cmp_age(&self, other: &Self) -> Ordering {
        self.age.cmp(&other.age).then_with(|| self.name.cmp(&other.name))
    }
}

impl Demand {
    /// One address of a family.
    pub fn single(family: Family) -> Self {
        Self::OneOfEach { families: vec![family], policy: FamilyPolicy::SingleStack }
    }

    /// An address of each family, that of IPv4 first.
    pub fn dual(policy: FamilyPolicy) -> Self {
        Self::OneOfEach { families: Family::ALL.to_vec(), policy }
    }

    pub(crate) fn policy(&self) -> FamilyPolicy {
        match self {
            Self::Nothing => FamilyPolicy::SingleStack,
            Self::OneOfEach { policy, .. } => *policy,
        }
    }

    /// The families that it wants an address of, in order.
    pub(crate) fn wanted(&self) -> &[Family] {
        match self {
            Self::Nothing => &[],
            Self::OneOfEach { families, policy: FamilyPolicy::SingleStack } => &families[..families.len().min(1)],
            // Both or nothing.
            Self::OneOfEach { families, policy: FamilyPolicy::RequireDualStack } if families.len() < 2 => &[],
            Self::OneOfEach { families, .. } => families,
        }
    }
}
