//! Why the oracle judged as it did, as values and as sentences: what `explain` shows.

use std::fmt;
use std::net::IpAddr;

use super::{Arrival, Judgement, Packet, Payload, Verdict};
use crate::{Answer, Cidr, EndpointAddress, FrontendKey, LocalTraffic, Masquerade, Pool, ServiceName, TrafficClass};

/// One thing that was found out about a packet; prints as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// The destination is a frontend, and the source is in none of its ranges.
    OutsideRanges {
        /// The frontend.
        frontend: FrontendKey,
        /// The packet's source.
        source: IpAddr,
    },
    /// The destination is this frontend, and the source may dial it.
    Dialled {
        /// The frontend.
        frontend: FrontendKey,
        /// Its service.
        service: ServiceName,
    },
    /// Which class of client the sender is.
    Class {
        /// Its class.
        class: TrafficClass,
        /// How pods are told.
        detector: LocalTraffic,
    },
    /// The frontend answers all clients alike.
    Everyone(Answer),
    /// The frontend answers by class.
    Split {
        /// The sender's.
        class: TrafficClass,
        /// What it gets.
        answer: Answer,
    },
    /// No endpoint with a weight above 0 is in the pool.
    EmptyPool(Pool),
    /// Session affinity: this endpoint answered before, and still is in the pool.
    Remembered(EndpointAddress),
    /// Session affinity: this endpoint answered before, and is not in the pool any more.
    Forgotten(EndpointAddress),
    /// Whether the frontend hides this sender's address.
    Masquerade {
        /// Which clients' addresses it hides.
        masquerade: Masquerade,
        /// The sender's class.
        class: TrafficClass,
    },
    /// This endpoint is on this node and is the sender itself: it sees the node's address.
    Hairpin(EndpointAddress),
    /// No frontend, and the address is the node's own.
    NodesOwn(IpAddr),
    /// No frontend, but others of this address are: it is a cluster address, and nothing else answers on it.
    WrongPort(IpAddr),
    /// No frontend has this address of a service range.
    Unallocated {
        /// The address.
        address: IpAddr,
        /// The range.
        range: Cidr,
    },
    /// No frontend, and no address of services.
    NotOurs(IpAddr),
}

/// `eth0: 192.168.67.1 > 10.96.0.1, TCP port 443`.
impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.arrival {
            Arrival::Interface(name) => write!(f, "{name}: ")?,
            Arrival::Sent => f.write_str("sent by the node: ")?,
        }
        write!(f, "{} > {}", self.source, self.destination)?;
        match self.payload {
            Payload::Transport(protocol, port) => write!(f, ", {protocol} port {port}"),
            Payload::Other => f.write_str(", no port"),
        }
    }
}

/// The reasons, one a line, and the verdict.
impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reasons.iter().try_for_each(|reason| writeln!(f, "{reason}"))?;
        self.verdict.fmt(f)
    }
}

/// `dropped`, `balanced over 10.244.0.4:80 (67 %), 10.244.1.2:80 (33 %, sees the node's address)`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untouched => f.write_str("untouched"),
            Self::Rejected => f.write_str("rejected"),
            Self::Dropped => f.write_str("dropped"),
            Self::Balanced { candidates, .. } => {
                f.write_str("balanced over ")?;
                for (at, candidate) in candidates.iter().enumerate() {
                    let separator = if at == 0 { "" } else { ", " };
                    let percent = self.probability(candidate.endpoint) * 100.0;
                    let seen = match candidate.seen {
                        super::SeenSource::Preserved => "",
                        super::SeenSource::Node => ", sees the node's address",
                    };
                    write!(f, "{separator}{} ({percent:.0} %{seen})", candidate.endpoint)?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutsideRanges { frontend, source } => {
                write!(f, "{source} is in none of the source ranges of {frontend}: dropped")
            }
            Self::Dialled { frontend, service } => write!(f, "destination is frontend {frontend} of service {service}"),
            Self::Class { class, detector } => write!(f, "sender is {} ({detector})", class_text(*class)),
            Self::Everyone(answer) => write!(f, "every client is {}", met(*answer)),
            Self::Split { class, answer } => {
                let side = if *class == TrafficClass::Stranger { "strangers are" } else { "pods and the node are" };
                write!(f, "{side} {}", met(*answer))
            }
            Self::EmptyPool(pool) => write!(f, "no endpoint {} takes new connections: rejected", members(*pool)),
            Self::Remembered(endpoint) => write!(f, "session affinity: {endpoint} answered this client before"),
            Self::Forgotten(endpoint) => {
                write!(f, "session affinity: {endpoint} answered this client before and is gone: choose anew")
            }
            Self::Masquerade { masquerade, class } => {
                let whose = match masquerade {
                    Masquerade::Never => "no client's source",
                    Masquerade::Always => "every client's source",
                    Masquerade::UnlessPod => "the source of every client but pods",
                    Masquerade::FromNode => "the node's own source",
                };
                let kept = if masquerade.applies_to(*class) { "rewritten" } else { "preserved" };
                write!(f, "frontend masquerades {whose}: {kept}")
            }
            Self::Hairpin(endpoint) => write!(f, "{endpoint} would dial itself: sees the node's address"),
            Self::NodesOwn(address) => write!(f, "{address} is the node's own and the port is no frontend"),
            Self::WrongPort(address) => {
                write!(f, "{address} is a cluster address and the port is no frontend: rejected")
            }
            Self::Unallocated { address, range } => {
                write!(f, "{address} is in service range {range} and no service has it: dropped")
            }
            Self::NotOurs(address) => write!(f, "{address} belongs to no service"),
        }
    }
}

fn class_text(class: TrafficClass) -> &'static str {
    match class {
        TrafficClass::Pod => "a local pod",
        TrafficClass::Node => "the node itself",
        TrafficClass::Stranger => "a stranger",
    }
}

fn met(answer: Answer) -> String {
    match answer {
        Answer::Balance(pool) => format!("balanced over the endpoints {}", members(pool)),
        Answer::Reject => "rejected".to_owned(),
        Answer::Drop => "dropped".to_owned(),
    }
}

fn members(pool: Pool) -> &'static str {
    match pool {
        Pool::Cluster => "of the cluster",
        Pool::Local => "on this node",
    }
}
