//! How a detector of local pods is chosen, and what it needs.

use std::str::FromStr;

use kubernetes::settings::{ClusterCidrs, InterfaceName, LocalDetector};

/// The values of `--detect-local-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum DetectLocalMode {
    /// By its source address: in --cluster-cidr.
    ClusterCidr,
    /// By its source address: in a pod range of this node's Node object.
    NodeCidr,
    /// By the bridge it enters through.
    BridgeInterface,
    /// By the name of the interface it enters through.
    InterfaceNamePrefix,
}

/// An interface's name without which a mode makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Lacking {
    Bridge,
    Prefix,
}

const MODES: [(&str, DetectLocalMode); 4] = [
    ("ClusterCIDR", DetectLocalMode::ClusterCidr),
    ("NodeCIDR", DetectLocalMode::NodeCidr),
    ("BridgeInterface", DetectLocalMode::BridgeInterface),
    ("InterfaceNamePrefix", DetectLocalMode::InterfaceNamePrefix),
];

impl DetectLocalMode {
    /// Where none is named.
    pub(in crate::config) const USUAL: &str = "ClusterCIDR";
}

impl Lacking {
    /// As a file's reader needs to hear it.
    pub(in crate::config) fn field(self) -> String {
        match self {
            Self::Bridge => "needs detectLocal.bridgeInterface, which is not given".into(),
            Self::Prefix => "needs detectLocal.interfaceNamePrefix, which is not given".into(),
        }
    }

    /// As a command line's writer needs to hear it.
    pub(super) fn flag(self) -> &'static str {
        match self {
            Self::Bridge => "needs --pod-bridge-interface, which is not given",
            Self::Prefix => "needs --pod-interface-name-prefix, which is not given",
        }
    }
}

/// The detector that `mode` means.
pub(in crate::config) fn detector(
    mode: DetectLocalMode,
    ranges: ClusterCidrs,
    bridge: Option<InterfaceName>,
    prefix: Option<InterfaceName>,
) -> Result<LocalDetector, Lacking> {
    match mode {
        DetectLocalMode::ClusterCidr => Ok(LocalDetector::ClusterCidrs(ranges)),
        DetectLocalMode::NodeCidr => Ok(LocalDetector::NodeCidrs),
        DetectLocalMode::BridgeInterface => bridge.map(LocalDetector::Bridge).ok_or(Lacking::Bridge),
        DetectLocalMode::InterfaceNamePrefix => prefix.map(LocalDetector::InterfacePrefix).ok_or(Lacking::Prefix),
    }
}

impl FromStr for DetectLocalMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = |(name, _): &&(&str, Self)| name.eq_ignore_ascii_case(text);
        match MODES.iter().find(named) {
            Some((_, mode)) => Ok(*mode),
            None => Err("must be ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix".into()),
        }
    }
}
