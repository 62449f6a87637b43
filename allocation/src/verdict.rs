//! What the allocator says of a service, and why.

use std::fmt;
use std::net::IpAddr;

use backend_api::{Family, Protocol, ServiceName};

use crate::{PoolName, Unfit};

/// What a service has from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Its addresses, in the order of its families.
    pub addresses: Vec<IpAddr>,
    /// The pool of them; `None` where it has none, or one outside of every pool.
    pub pool: Option<PoolName>,
    /// Why it has not what it asks for, or why what it has will not last.
    pub problem: Option<Problem>,
}

/// A verdict that is news: another than before, or than what the service held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Of which service.
    pub service: ServiceName,
    /// What it has from now on.
    pub verdict: Verdict,
    /// Addresses that it did not hold before. The others of the verdict it held: they are adopted, or kept.
    pub given: Vec<IpAddr>,
    /// Addresses that it held, and has no more.
    pub lost: Vec<Lost>,
}

/// An address that a service held, and has no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The address.
    pub address: IpAddr,
    /// Why.
    pub because: LostBecause,
}

/// Why a service has an address no more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostBecause {
    /// It wants none: it is no LoadBalancer any more, or has no cluster address.
    Unwanted,
    /// It wants no address of this family.
    Family,
    /// It has another address of this family, named before.
    Duplicate,
    /// No pool has it.
    OutsidePools,
    /// Its pool does not let the service have it.
    Refused(Refusal),
    /// An older service has it, and does not share it.
    Taken {
        /// The older service.
        by: ServiceName,
        /// Why they do not share.
        clash: Clash,
    },
    /// The service's first address is of another pool.
    OtherPool(PoolName),
    /// The service got what it asked for instead.
    Replaced,
}

/// Why a service has not what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// There is no pool, or none of the name that is asked for.
    NoPool {
        /// The name that is asked for.
        asked: Option<PoolName>,
    },
    /// Each pool that comes into question refuses.
    Refused(Vec<Refusal>),
    /// An address is asked for that no pool has.
    AddressOutsidePools(IpAddr),
    /// An address is asked for that another service has.
    AddressInUse {
        /// The address.
        address: IpAddr,
        /// The oldest service that has it.
        by: ServiceName,
    },
    /// An address is asked for that another service has, and the two cannot share it.
    SharingRefused {
        /// The address.
        address: IpAddr,
        /// The oldest service that has it and does not share it with this one.
        with: ServiceName,
        /// Why they do not share.
        clash: Clash,
    },
    /// The service has too few cluster addresses to know what it wants.
    NoFamily {
        /// How many cluster addresses it has.
        cluster_addresses: usize,
    },
    /// The service has one address of two, and its pool has no other to give.
    FamilyMissing {
        /// The family of the address that is missing.
        family: Family,
        /// Its pool, and why it gives none; `None` where what it has is outside of every pool.
        refusal: Option<Refusal>,
    },
    /// What is asked for contradicts itself, or cannot be read.
    BadRequest(BadRequest),
    /// The service keeps an address that no pool has, until it lets go of it.
    OutsidePools(Vec<IpAddr>),
}

/// A pool that does not give an address, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The pool.
    pub pool: PoolName,
    /// Why.
    pub because: RefusedBecause,
}

/// Why a pool does not give an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusedBecause {
    /// It has none left that the service could have.
    Exhausted,
    /// It has no range of a family.
    NoRange(Family),
    /// It is not for this service.
    Unfit(Unfit),
    /// It is for services only that ask for it (`autoAssign: false`).
    OnRequest,
    /// It never gives this address (`avoidBuggyIPs`).
    Avoided(IpAddr),
}

/// Why two services do not share an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clash {
    /// One of them has no sharing key.
    NoKey,
    /// Their sharing keys differ.
    Keys,
    /// Their namespaces differ, and services share inside of one only.
    Namespaces,
    /// Other pods are behind the one than behind the other, and externalTrafficPolicy Local needs the same.
    Backends,
    /// Both have this port.
    Port(Protocol, u16),
}

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadRequest {
    /// It cannot be read: why.
    Unreadable(String),
    /// The families of the addresses are not those of the service.
    Families(Vec<IpAddr>),
    /// The two addresses are of two pools.
    TwoPools([PoolName; 2]),
    /// The address is of another pool than the one that is asked for.
    OtherPool {
        /// The address that is asked for.
        address: IpAddr,
        /// Its pool.
        pool: PoolName,
        /// The pool that is asked for.
        asked: PoolName,
    },
}

/// What an operator is told, with the reasons of MetalLB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether it asks for attention.
    pub kind: EventKind,
    /// `IPAllocated`, `ClearAssignment`, `AllocationFailed` and the like: alerts match on it.
    pub reason: &'static str,
    /// What happened.
    pub message: String,
}

/// Whether an event asks for attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// It does not.
    Normal,
    /// It does.
    Warning,
}

impl Problem {
    /// The reason of the condition `AddressAllocated`: one word that a program can compare.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoPool { .. } => "NoPool",
            Self::Refused(refusals) => refused_reason(refusals),
            Self::AddressOutsidePools(_) => "AddressOutsidePools",
            Self::AddressInUse { .. } => "AddressInUse",
            Self::SharingRefused { .. } => "SharingRefused",
            Self::NoFamily { .. } | Self::FamilyMissing { .. } => "FamilyMissing",
            Self::BadRequest(_) => "BadRequest",
            Self::OutsidePools(_) => "OutsidePools",
        }
    }
}

/// What could change first: an address that comes free, then a range that is added, then what a pool is for.
fn refused_reason(refusals: &[Refusal]) -> &'static str {
    if refusals.iter().any(|refusal| refusal.because == RefusedBecause::Exhausted) {
        "PoolExhausted"
    } else if refusals.iter().any(|refusal| matches!(refusal.because, RefusedBecause::NoRange(_))) {
        "FamilyMissing"
    } else {
        "PoolForbids"
    }
}

impl Decision {
    /// What is told to an operator.
    pub fn events(&self) -> Vec<Event> {
        let Self { service: _, verdict, given, lost } = self;
        let mut events: Vec<Event> = lost.iter().filter_map(cleared).collect();
        if !given.is_empty() {
            let message = format!("assigned {}", List(given));
            events.push(Event { kind: EventKind::Normal, reason: "IPAllocated", message });
        }
        events.extend(verdict.problem.as_ref().map(|problem| refused(problem, &verdict.addresses)));
        events
    }
}

fn cleared(lost: &Lost) -> Option<Event> {
    match lost.because {
        // The owner of the service did that.
        LostBecause::Unwanted | LostBecause::Replaced => None,
        LostBecause::Duplicate => {
            Some(Event { kind: EventKind::Warning, reason: "nolbIPsIPFamily", message: lost.to_string() })
        }
        _ => Some(Event { kind: EventKind::Normal, reason: "ClearAssignment", message: lost.to_string() }),
    }
}

fn refused(problem: &Problem, addresses: &[IpAddr]) -> Event {
    let (kind, reason) = match problem {
        Problem::NoFamily { .. } => (EventKind::Warning, "noclusterIPsIPFamily"),
        Problem::FamilyMissing { .. } => (EventKind::Normal, "AdditionalAssignFailed"),
        Problem::BadRequest(BadRequest::Unreadable(_)) => (EventKind::Warning, "LoadBalancerFailed"),
        Problem::OutsidePools(_) => (EventKind::Warning, "OutsidePools"),
        _ => (EventKind::Warning, "AllocationFailed"),
    };
    let keeps = match (problem, addresses) {
        (Problem::FamilyMissing { .. } | Problem::OutsidePools(_), _) | (_, []) => String::new(),
        (_, addresses) => format!("; keeps {}", List(addresses)),
    };
    Event { kind, reason, message: format!("{problem}{keeps}") }
}

/// `address 192.168.67.240: no pool has it`.
impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "address {}: ", self.address)?;
        match &self.because {
            LostBecause::Unwanted => write!(f, "the service wants none"),
            LostBecause::Family => write!(f, "the service wants no address of this family"),
            LostBecause::Duplicate => write!(f, "the service has another address of this family"),
            LostBecause::OutsidePools => write!(f, "no pool has it"),
            LostBecause::Refused(refusal) => write!(f, "{refusal}"),
            LostBecause::Taken { by, clash } => write!(f, "the older service {by} has it, {clash}"),
            LostBecause::OtherPool(pool) => write!(f, "it is of pool {pool}, the service's first address is not"),
            LostBecause::Replaced => write!(f, "the service got what it asked for instead"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPool { asked: None } => write!(f, "there is no pool"),
            Self::NoPool { asked: Some(pool) } => write!(f, "there is no pool {pool}"),
            Self::Refused(refusals) => write!(f, "{}", List(refusals)),
            Self::AddressOutsidePools(address) => write!(f, "address {address} is asked for, and no pool has it"),
            Self::AddressInUse { address, by } => write!(f, "address {address} is asked for, and service {by} has it"),
            Self::SharingRefused { address, with, clash } => {
                write!(f, "address {address} is asked for, and service {with} has it: {clash}")
            }
            Self::NoFamily { cluster_addresses: 0 } => write!(f, "the service has no cluster address"),
            Self::NoFamily { .. } => write!(f, "RequireDualStack, and the service has one cluster address only"),
            Self::FamilyMissing { family, refusal: Some(refusal) } => {
                write!(f, "no {} address: {refusal}", family_name(*family))
            }
            Self::FamilyMissing { family, refusal: None } => {
                let family = family_name(*family);
                write!(f, "no {family} address: no pool has the other address of the service")
            }
            Self::BadRequest(bad) => write!(f, "{bad}"),
            Self::OutsidePools(addresses) => write!(f, "keeps {}, which no pool has", List(addresses)),
        }
    }
}

/// `pool office: no address left`.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pool {}: ", self.pool)?;
        match self.because {
            RefusedBecause::Exhausted => write!(f, "no address left"),
            RefusedBecause::NoRange(family) => write!(f, "no {} range", family_name(family)),
            RefusedBecause::Unfit(Unfit::Namespace) => write!(f, "not for the service's namespace"),
            RefusedBecause::Unfit(Unfit::Labels) => write!(f, "not for the service's labels"),
            RefusedBecause::OnRequest => write!(f, "only for services that ask for it (autoAssign)"),
            RefusedBecause::Avoided(address) => write!(f, "never gives {address} (avoidBuggyIPs)"),
        }
    }
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => write!(f, "not both have a sharing key"),
            Self::Keys => write!(f, "the sharing keys differ"),
            Self::Namespaces => write!(f, "the namespaces differ"),
            Self::Backends => write!(f, "the selectors differ, and externalTrafficPolicy is Local"),
            Self::Port(protocol, port) => write!(f, "both have port {port}/{protocol}"),
        }
    }
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(why) => write!(f, "{why}"),
            Self::Families(asked) => write!(f, "asked for {}: not the families of the service", List(asked)),
            Self::TwoPools([one, other]) => {
                write!(f, "asked for addresses of two pools, {one} and {other}: they must be of one")
            }
            Self::OtherPool { address, pool, asked } => {
                write!(f, "asked for address {address} and for pool {asked}: the address is of pool {pool}")
            }
        }
    }
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// What is listed with blanks; of a long list the beginning.
struct List<'a, T>(&'a [T]);

const LISTED: usize = 8;

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().take(LISTED).enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{item}")?;
        }
        match self.0.len().saturating_sub(LISTED) {
            0 => Ok(()),
            others => write!(f, " and {others} more"),
        }
    }
}
