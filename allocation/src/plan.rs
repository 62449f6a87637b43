//! Everything at once: what the allocator would say if it began now.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use backend_api::{PerFamily, ServiceName};

use crate::{AddressRange, Allocator, Decision, Edit, Labels, Pool, PoolName, Service};

/// What the operator decides for all pools and services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Which services may share an address.
    pub sharing: Sharing,
    /// What becomes of an address that no pool has any more.
    pub outside_pools: OutsidePools,
    /// How long what was given from a pool stays after the pool is gone: one that is deleted and created again takes
    /// no address from a service.
    pub grace: Duration,
}

/// Which services may share an address, if their keys are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Those of any namespace, as under MetalLB.
    #[default]
    Anywhere,
    /// Those of one namespace.
    Namespace,
}

/// What becomes of an address that no pool has any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutsidePools {
    /// The service gets another one, as under MetalLB.
    #[default]
    Readdress,
    /// The service keeps it until it lets go of it.
    Keep,
}

/// How many addresses of a pool services have, and how many are left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// How many services have, each address once.
    pub assigned: PerFamily<i64>,
    /// How many are left to be given unasked; at most `i64::MAX`.
    pub available: PerFamily<i64>,
}

/// Addresses that a pool lists and does not have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Overlap {
    /// The pool that goes without.
    pub pool: PoolName,
    /// The pool that has them: an older one, or the same where it lists them twice.
    pub older: PoolName,
    /// The addresses.
    pub range: AddressRange,
}

/// What [`plan`] says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// Of each service.
    pub decisions: BTreeMap<ServiceName, Decision>,
    /// Of each pool.
    pub counts: BTreeMap<PoolName, PoolCounts>,
    /// Of pools that list the same addresses.
    pub overlaps: Vec<Overlap>,
}

/// Decides for all services: adopts of what they hold what is legal, and then gives what is missing.
pub fn plan(
    options: Options,
    pools: impl IntoIterator<Item = Pool>,
    services: impl IntoIterator<Item = Service>,
    namespaces: impl IntoIterator<Item = (String, Labels)>,
) -> Plan {
    let mut allocator = Allocator::new(options);
    let pools = pools.into_iter().map(Edit::Pool);
    let namespaces = namespaces.into_iter().map(|(name, labels)| Edit::Namespace(name, labels));
    let edits = pools.chain(namespaces).chain(services.into_iter().map(Edit::Service));
    let decisions = allocator.apply(edits, Duration::ZERO);
    Plan {
        decisions: decisions.into_iter().map(|decision| (decision.service.clone(), decision)).collect(),
        counts: allocator.counts().collect(),
        overlaps: allocator.overlaps().to_vec(),
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { sharing: Sharing::default(), outside_pools: OutsidePools::default(), grace: Duration::from_secs(5) }
    }
}

/// `pool young: range 10.0.0.10-10.0.0.20 is of the older pool old, which keeps it`.
impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pool, older, range } = self;
        match pool == older {
            true => write!(f, "pool {pool}: range {range} is listed twice"),
            false => write!(f, "pool {pool}: range {range} is of the older pool {older}, which keeps it"),
        }
    }
}
