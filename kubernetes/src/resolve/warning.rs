//! What is wrong with an object, and where: typed, so that tests and metrics need not read sentences.

use std::fmt;
use std::net::IpAddr;

use backend_api::{Cidr, Family, Scheduler, UnknownScheduler};

use crate::objects::ObjectKey;

/// A part of an object that makes no sense and was left out, or was read another way than written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Warning {
    /// Which object.
    pub object: ObjectKey,
    /// Which part, as a path: `spec.ports[1].nodePort`.
    pub field: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Problem {
    /// Left out.
    #[error("{0:?} is no address")]
    NotAnAddress(String),
    /// Read as `means`, which is what the API did before KEP-4858.
    #[error("{text:?} is not in today's notation, read as {means}")]
    OldAddress {
        /// As written.
        text: String,
        /// As read.
        means: IpAddr,
    },
    /// Left out: neither can be forwarded to or from.
    #[error("{0} is unspecified, loopback, multicast or broadcast")]
    SpecialAddress(IpAddr),
    /// Left out.
    #[error("{address} is not {family}")]
    OtherFamily {
        /// The address.
        address: IpAddr,
        /// The family that its place demands.
        family: Family,
    },
    /// Left out: a proxy does nothing for a service in a family in which it has no cluster address.
    #[error("{address}: service has no {family} cluster address")]
    NoClusterIp {
        /// The address.
        address: IpAddr,
        /// Its family.
        family: Family,
    },
    /// Left out: a service has one cluster address of each family.
    #[error("{0} is the second cluster address of its family")]
    SecondClusterIp(IpAddr),
    /// Left out.
    #[error("{0} is no port, 1 to 65535")]
    PortNumber(i64),
    /// Left out: an earlier port of the service has the same name and protocol, so that endpoints cannot be told apart.
    #[error("{name:?} is the name of {earlier} too")]
    PortName {
        /// The name.
        name: String,
        /// Path of the earlier port.
        earlier: String,
    },
    /// Left out: an earlier port of the service is dialled the same way.
    #[error("{port} is that of {earlier} too")]
    PortTaken {
        /// The number.
        port: u16,
        /// Path of the earlier port.
        earlier: String,
    },
    /// Read as, or treated like, `instead`.
    #[error("{word:?} is unknown, {instead}")]
    Word {
        /// As written.
        word: String,
        /// What was done about it.
        instead: &'static str,
    },
    /// Left out; if nothing else is in the list, no client may dial.
    #[error("{0:?} is no range")]
    NotARange(String),
    /// Read as `means`.
    #[error("{text:?} is not in today's notation, read as {means}")]
    OldRange {
        /// As written.
        text: String,
        /// As read.
        means: Cidr,
    },
    /// The family is closed. kube-proxy would let every client dial.
    #[error("no range for {0}: no client may dial the service's {0} load-balancer addresses")]
    Closed(Family),
    /// The default is used.
    #[error("{0} is no timeout, 1 to 86400 seconds: 10800 is used")]
    Timeout(i64),
    /// The operator's scheduler is used.
    #[error("{0}: the default is used")]
    Scheduler(UnknownScheduler),
    /// Left out.
    #[error("{0} has no effect: spec.sessionAffinity is ClientIP, and decides")]
    AffinityDecides(Scheduler),
    /// The address is used for as long as the node owns it.
    #[error("no {family} address any more, though the node still has {address}: it stays the primary one")]
    AddressWithdrawn {
        /// The address that was the primary one.
        address: IpAddr,
        /// Its family.
        family: Family,
    },
    /// All addresses of the node carry node ports.
    #[error("no address of the node: node ports are served at all of its addresses")]
    NoNodeAddress,
    /// The ranges are used that the object had before.
    #[error("no range any more: pods are still told by {}", Ranges(.0))]
    PodRangesWithdrawn(Vec<Cidr>),
    /// The service counts as the youngest.
    #[error("{0:?} is no time")]
    Time(String),
}

/// Ranges, one after the other.
struct Ranges<'a>(&'a [Cidr]);

impl fmt::Display for Ranges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.0.iter().enumerate() {
            write!(f, "{}{range}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// `Service default/web: spec.ports[1].nodePort: 70000 is no port, 1 to 65535`.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.object, self.field, self.problem)
    }
}

/// Warnings about one object, while it is looked at.
#[derive(Debug)]
pub(super) struct Log<'a> {
    object: ObjectKey,
    warnings: &'a mut Vec<Warning>,
}

impl<'a> Log<'a> {
    pub(super) fn new(object: ObjectKey, warnings: &'a mut Vec<Warning>) -> Self {
        Self { object, warnings }
    }

    /// `field` is written out only here: most objects have nothing wrong with them, and each has many fields.
    pub(super) fn warn(&mut self, field: impl fmt::Display, problem: Problem) {
        self.warnings.push(Warning { object: self.object.clone(), field: field.to_string(), problem });
    }
}
