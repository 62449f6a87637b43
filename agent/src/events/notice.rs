//! What leads to an Event, and the words of each.
//!
//! Kept apart from posting, so that the parts of the agent that leave notices know nothing of the API.

use std::fmt;
use std::net::IpAddr;

use backend_api::{Conflict, Family, ServiceName};

use crate::host::Unset;
use crate::migration::Rival;

/// Something that an operator should find on an object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The agent has started.
    Started,
    /// The backend does not work on this node.
    BackendUnavailable {
        /// Why.
        reason: String,
    },
    /// Another backend has taken over.
    BackendChanged {
        /// Its name.
        backend: &'static str,
    },
    /// Another program forwards, or may forward, service traffic on this node.
    Rival(Rival),
    /// A setting of the node could not be made.
    SettingRefused(Unset),
    /// A service's health check node port cannot be bound.
    HealthCheckNotStarted {
        /// Which service's.
        service: ServiceName,
        /// The port.
        port: u16,
        /// Why.
        reason: String,
    },
    /// A service cannot be programmed; all others are.
    ServiceRefused {
        /// Which.
        service: ServiceName,
        /// Why.
        reason: String,
    },
    /// A service does not get a frontend, because an older one has it.
    FrontendConflict(Conflict),
    /// A service's source ranges are all of the other family: no client may dial its load-balancer addresses of this
    /// one.
    SourceRangesOfOtherFamily {
        /// Which.
        service: ServiceName,
        /// The family that is closed.
        family: Family,
    },
    /// Addresses cannot be announced.
    AnnounceFailed {
        /// Why.
        reason: String,
    },
    /// This node answers for an address of a service.
    NodeAssigned {
        /// Which service's.
        service: ServiceName,
        /// The address.
        address: IpAddr,
        /// On which interface.
        interface: String,
    },
    /// A station that is no node of this cluster has an address of a service.
    AddressConflict {
        /// Which service's.
        service: ServiceName,
        /// The address.
        address: IpAddr,
        /// What is known of the station.
        reason: String,
    },
}

/// The object that a notice is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The node that the agent runs on.
    ThisNode,
    /// A service.
    Service(ServiceName),
}

/// The type of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Nothing to do.
    Normal,
    /// An operator should look.
    Warning,
}

impl Notice {
    /// What it is about.
    pub fn subject(&self) -> Subject {
        match self {
            Self::Started
            | Self::BackendUnavailable { .. }
            | Self::BackendChanged { .. }
            | Self::Rival(_)
            | Self::SettingRefused(_)
            | Self::AnnounceFailed { .. } => Subject::ThisNode,
            Self::HealthCheckNotStarted { service, .. }
            | Self::ServiceRefused { service, .. }
            | Self::SourceRangesOfOtherFamily { service, .. }
            | Self::NodeAssigned { service, .. }
            | Self::AddressConflict { service, .. } => Subject::Service(service.clone()),
            Self::FrontendConflict(conflict) => Subject::Service(conflict.loser.clone()),
        }
    }

    /// Its type.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Started | Self::BackendChanged { .. } | Self::NodeAssigned { .. } => Severity::Normal,
            Self::BackendUnavailable { .. }
            | Self::Rival(_)
            | Self::SettingRefused(_)
            | Self::HealthCheckNotStarted { .. }
            | Self::ServiceRefused { .. }
            | Self::FrontendConflict(_)
            | Self::SourceRangesOfOtherFamily { .. }
            | Self::AnnounceFailed { .. }
            | Self::AddressConflict { .. } => Severity::Warning,
        }
    }

    /// `reason` of the Event; kube-proxy's word where it has one.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Started => "Starting",
            Self::BackendUnavailable { .. } => "BackendUnavailable",
            Self::BackendChanged { .. } => "BackendChanged",
            Self::Rival(_) => "OtherServiceProxy",
            Self::SettingRefused(_) => "SettingRefused",
            Self::HealthCheckNotStarted { .. } => "FailedToStartServiceHealthcheck",
            Self::ServiceRefused { .. } => "ServiceRefused",
            Self::FrontendConflict(_) => "FrontendConflict",
            Self::SourceRangesOfOtherFamily { .. } => "SourceRangesOfOtherFamily",
            // MetalLB's words.
            Self::AnnounceFailed { .. } => "announceFailed",
            Self::NodeAssigned { .. } => "nodeAssigned",
            Self::AddressConflict { .. } => "AddressConflict",
        }
    }

    /// `action` of the Event: what was being done.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Started | Self::Rival(_) | Self::SettingRefused(_) => "StartKubeProxy",
            Self::HealthCheckNotStarted { .. } => "Listen",
            Self::BackendUnavailable { .. }
            | Self::BackendChanged { .. }
            | Self::ServiceRefused { .. }
            | Self::FrontendConflict(_)
            | Self::SourceRangesOfOtherFamily { .. } => "Program",
            Self::AnnounceFailed { .. } | Self::NodeAssigned { .. } | Self::AddressConflict { .. } => "Announce",
        }
    }
}

/// `note` of the Event.
impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("forwarding the service traffic of this node"),
            Self::BackendUnavailable { reason } => f.write_str(reason),
            Self::BackendChanged { backend } => write!(f, "backend changed to {backend}"),
            Self::Rival(rival) => rival.fmt(f),
            Self::SettingRefused(unset) => unset.fmt(f),
            Self::HealthCheckNotStarted { port, reason, .. } => {
                write!(f, "health check node port {port}: {reason}")
            }
            Self::ServiceRefused { reason, .. } => write!(f, "service cannot be programmed, all others are: {reason}"),
            Self::FrontendConflict(conflict) => conflict.fmt(f),
            Self::SourceRangesOfOtherFamily { family, .. } => write!(
                f,
                "spec.loadBalancerSourceRanges: no range for {family}: no client may dial the service's {family} \
                 load-balancer addresses; add a range of {family} to open them"
            ),
            Self::AnnounceFailed { reason } => write!(f, "addresses cannot be announced: {reason}"),
            Self::NodeAssigned { address, interface, .. } => {
                write!(f, "this node answers for {address} on {interface}")
            }
            Self::AddressConflict { address, reason, .. } => write!(f, "address {address}: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_service_proxy_is_reported_on_the_node() {
        let rival = Notice::Rival(Rival::KubeProxy { process: 7 });
        assert_eq!((rival.subject(), rival.severity()), (Subject::ThisNode, Severity::Warning));
        assert_eq!(rival.reason(), "OtherServiceProxy");
        assert_eq!(rival.to_string(), "kube-proxy runs on this node, process 7");
    }
}
