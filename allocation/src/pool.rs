//! Pools: ranges of addresses, and which services they are for.

use std::cmp::Ordering;
use std::sync::Arc;

use backend_api::{Age, Family};

use crate::selector::any_matches;
use crate::{AddressRange, Labels, Selector, Service};

/// Name of a pool.
pub type PoolName = Arc<str>;

/// Addresses to give to services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// Of two pools that claim one address the older has it; equals by name.
    pub age: Age,
    /// Its addresses, in the order in which they are given; within a range the lowest first.
    pub ranges: Vec<AddressRange>,
    /// For which services it is used.
    pub assign: Assign,
    /// Which of its IPv4 addresses are never given.
    pub avoid: Avoid,
    /// Which services it is for; `None` is for all, after the pools that say for which they are.
    pub service_allocation: Option<ServiceAllocation>,
}

/// For which services a pool is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Assign {
    /// For each that it accepts.
    #[default]
    Automatic,
    /// For those that ask for it, or for an address of it.
    OnRequest,
}

/// Which IPv4 addresses are never given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Avoid {
    /// All are given.
    #[default]
    Nothing,
    /// Those that end with 0 or 255, which some routers take for a network's own. One that is held is given back.
    Buggy,
}

/// Which services a pool is for: those of a namespace that is named or matches, and whose labels match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAllocation {
    /// Pools are tried from 1 upwards, and then those with 0.
    pub priority: u32,
    /// Namespaces by name.
    pub namespaces: Vec<String>,
    /// Namespaces by their labels. With neither names nor these: any.
    pub namespace_selectors: Vec<Selector>,
    /// Labels of the service; any, if empty.
    pub service_selectors: Vec<Selector>,
}

/// What of a service a pool does not accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unfit {
    /// The namespace.
    Namespace,
    /// Its labels.
    Labels,
}

impl Pool {
    /// A pool of these ranges, for all services.
    pub fn new(name: &str, ranges: Vec<AddressRange>) -> Self {
        Self {
            name: name.into(),
            age: Age::default(),
            ranges,
            assign: Assign::default(),
            avoid: Avoid::default(),
            service_allocation: None,
        }
    }

    /// Whether the pool is for this service.
    pub(crate) fn accepts(&self, service: &Service, namespace: &Labels) -> Result<(), Unfit> {
        let Some(ServiceAllocation { priority: _, namespaces, namespace_selectors, service_selectors }) =
            &self.service_allocation
        else {
            return Ok(());
        };
        let in_namespace = namespaces.is_empty() && namespace_selectors.is_empty()
            || namespaces.iter().any(|name| **name == *service.name.namespace)
            || namespace_selectors.iter().any(|selector| selector.matches(namespace));
        if !in_namespace {
            return Err(Unfit::Namespace);
        }
        any_matches(service_selectors, &service.labels).then_some(()).ok_or(Unfit::Labels)
    }

    pub(crate) fn has_family(&self, family: Family) -> bool {
        self.ranges.iter().any(|range| range.family() == family)
    }

    /// Whether what it accepts depends on the labels of namespaces.
    pub(crate) fn reads_namespaces(&self) -> bool {
        self.service_allocation.as_ref().is_some_and(|allocation| !allocation.namespace_selectors.is_empty())
    }

    /// In which order pools are tried: first those that say for which services they are, by priority with 0 last, then
    /// the others; equals by name.
    pub(crate) fn cmp_tried(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank()).then_with(|| self.name.cmp(&other.name))
    }

    fn rank(&self) -> (bool, u32) {
        match &self.service_allocation {
            // 0 comes last.
            Some(allocation) => (false, allocation.priority.wrapping_sub(1)),
            None => (true, 0),
        }
    }
}
