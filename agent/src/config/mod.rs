//! What the operator decided: flags with kube-proxy's names, and kube-proxy's configuration file, parsed into values that
//! cannot be wrong.
//!
//! ```text
//! argv ──► flags (clap) ──┐ each value by its    ┌─► Action: run, write, initialise, clean up
//!                         ├─► own FromStr ──► Written ──► Config ──► configz, --write-config-to
//! file ──► tree (YAML) ───┘                                │
//!   └──────────────── live (inotify) ── again ─────────────┴──► changes: who must act
//! ```
//!
//! Each value's type refuses what makes no sense, so nothing downstream checks again. What a file has wrong is told
//! all at once. What has no effect here is in one table (`idle`) with the reason.

mod action;
mod difference;
mod duration;
mod file;
mod findings;
mod flags;
mod host;
mod idle;
mod ipvs;
pub mod live;
mod mode;
mod servers;
mod verbosity;
mod words;
mod written;

use std::net::IpAddr;
use std::num::NonZeroU32;

pub use action::{Action, ConfigFile, Order};
pub use difference::{Part, changes};
pub use file::{configz, yaml};
pub use findings::{ConfigError, Mistake, Place, Remark};
pub use flags::{LogFlags, RunFlags};
pub use host::{ConntrackConfig, HostConfig};
pub use ipvs::{IpvsConfig, IpvsTimeouts};
pub use servers::{ByService, ServersConfig, Unbound};
pub use verbosity::{Verbosity, VerbosityError};

use kubernetes::settings::{LocalDetector, NodeName, NodePortSelection, Settings};
use kubernetes::source::{SourceChoice, SourceConfig};

use crate::backend::Backend;

/// A node agent's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name of this node's Node object.
    pub node_name: NodeName,
    /// The node's own address, in place of the first of its family in the Node object.
    pub node_address: Option<IpAddr>,
    /// Who programs the kernel.
    pub backend: Backend,
    /// What the IPVS backend is told, if it is that one.
    pub ipvs: IpvsConfig,
    /// How local pods are told from others.
    pub local_traffic: LocalDetector,
    /// Which of the node's addresses carry node ports.
    pub node_ports: NodePortSelection,
    /// Whether connections to cluster addresses carry the node's address whoever dials.
    pub masquerade_all: bool,
    /// After about how many packets an established connection is handed to a flowtable; never if `None`.
    pub flowtable_after: Option<NonZeroU32>,
    /// Where objects come from.
    pub source: SourceConfig,
    /// Health and metrics.
    pub servers: ServersConfig,
    /// What is set on the node at start.
    pub host: HostConfig,
    /// What happens to the rules of a kube-proxy that ran here before.
    pub kube_proxy: KubeProxyRules,
    /// How much is logged.
    pub verbosity: Verbosity,
}

/// What happens to the rules that kube-proxy has left in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KubeProxyRules {
    /// They are removed once ours are programmed.
    #[default]
    Removed,
    /// They stay.
    Left,
}

impl KubeProxyRules {
    /// As `--cleanup-kube-proxy` says it.
    fn cleanup(wanted: bool) -> Self {
        if wanted { Self::Removed } else { Self::Left }
    }
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        Self {
            node_name: config.node_name.clone(),
            node_address: config.node_address,
            local_traffic: config.local_traffic.clone(),
            node_ports: config.node_ports.clone(),
            masquerade_all: config.masquerade_all,
            flowtable_after: config.flowtable_after,
        }
    }
}

impl From<&Config> for SourceChoice {
    fn from(config: &Config) -> Self {
        Self { source: config.source.clone(), node_name: config.node_name.clone() }
    }
}
