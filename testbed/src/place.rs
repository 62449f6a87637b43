//! A place of a world: a machine or a pod, with its namespace and its addresses.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use backend_api::Family;

use super::dial::Dial;
use super::namespace::Namespace;
use super::plan::of_family;

/// Somewhere to dial from, and to answer at.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name, as the plan has it; `sink` for the sink.
    pub name: String,
    /// Its addresses, the node's on `eth0`.
    pub addresses: Vec<IpAddr>,
    /// Where it is; pods of other nodes share one.
    pub namespace: Arc<Namespace>,
    /// Whether others are there too, so that its own address must be chosen when it dials.
    pub(super) shared: bool,
}

impl Place {
    /// Its address of `family`.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        of_family(&self.addresses, family)
    }

    /// Whether its namespace is another place's too.
    pub fn shares_namespace(&self) -> bool {
        self.shared
    }

    /// The shell command that enters it.
    pub fn entrance(&self) -> String {
        format!("ip netns exec {} bash", self.namespace.name())
    }

    /// `dial` from the place's own address where others share its namespace; elsewhere the kernel chooses. What `dial`
    /// says itself is kept.
    pub fn sourced(&self, dial: &Dial) -> Dial {
        match self.address(Family::of(dial.to.ip())) {
            Some(own) if self.shared && dial.from.ip().is_unspecified() => {
                dial.from(SocketAddr::new(own, dial.from.port()))
            }
            _ => *dial,
        }
    }
}
