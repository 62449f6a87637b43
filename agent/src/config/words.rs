//! Small values as kube-proxy's flags and fields write them.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::str::FromStr;

use allocation::AddressRange;
use kubernetes::settings::{ClusterCidrs, InterfaceName, LocalDetector};

/// A truth value as Go's flags take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Switch(pub(super) bool);

/// Not such a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}: must be true or false")]
pub(super) struct SwitchError(String);

/// The node's own address. 0.0.0.0 and :: say the family alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BindAddress(pub(super) IpAddr);

/// Not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}: must be an IP address such as 192.168.67.8, or 0.0.0.0 or :: for that of the Node object")]
pub(super) struct BindAddressError(String);

/// Where a server of the agent listens, as far as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerAddress {
    Nowhere,
    /// What is not written has its default.
    At {
        ip: Option<IpAddr>,
        port: Option<NonZeroU16>,
    },
}

impl Default for ServerAddress {
    fn default() -> Self {
        Self::At { ip: None, port: None }
    }
}

/// Not such a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}: must be IP:port or an IP address, such as 0.0.0.0:10256 or [::]:10256, with a port from 1 to 65535")]
pub(super) struct ServerAddressError(String);

/// Any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AnyText(pub(super) String);

/// Addresses of a pool: `192.0.2.0/24` or `192.0.2.10-192.0.2.20`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolRange(pub(crate) AddressRange);

/// The name of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PoolNamespace(pub(crate) String);

/// `spec.loadBalancerClass` of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoadBalancerClass(pub(crate) String);

/// A value, or nothing if the text is empty: kube-proxy accepts `--hostname-override=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unless<T> {
    Empty,
    Said(T),
}

impl<T> Unless<T> {
    pub(super) fn said(self) -> Option<T> {
        match self {
            Self::Empty => None,
            Self::Said(value) => Some(value),
        }
    }
}

impl<T: FromStr> FromStr for Unless<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text.is_empty() { Ok(Self::Empty) } else { text.parse().map(Self::Said) }
    }
}

impl ServerAddress {
    /// An address and a port from two flags; port 0 is nowhere.
    pub(super) fn of(address: Option<Self>, port: Option<u16>) -> Option<Self> {
        match (address, port.map(NonZeroU16::new)) {
            (address, None) => address,
            (_, Some(None)) | (Some(Self::Nowhere), _) => Some(Self::Nowhere),
            (None, Some(port)) => Some(Self::At { ip: None, port }),
            (Some(Self::At { ip, port: said }), Some(port)) => Some(Self::At { ip, port: said.or(port) }),
        }
    }

    /// The address, with what is not written from `usual`.
    pub(super) fn place(self, usual: SocketAddr) -> Option<SocketAddr> {
        match self {
            Self::Nowhere => None,
            Self::At { ip, port } => {
                Some((ip.unwrap_or(usual.ip()), port.map_or(usual.port(), NonZeroU16::get)).into())
            }
        }
    }
}

impl FromStr for Switch {
    type Err = SwitchError;

    fn from_str(text: &str) -> Result<Self, SwitchError> {
        match text {
            "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(Self(true)),
            "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(Self(false)),
            _ => Err(SwitchError(text.to_owned())),
        }
    }
}

impl FromStr for BindAddress {
    type Err = BindAddressError;

    fn from_str(text: &str) -> Result<Self, BindAddressError> {
        text.parse().map(Self).map_err(|_| BindAddressError(text.to_owned()))
    }
}

impl FromStr for ServerAddress {
    type Err = ServerAddressError;

    fn from_str(text: &str) -> Result<Self, ServerAddressError> {
        if text.is_empty() {
            return Ok(Self::Nowhere);
        }
        if let Ok(ip) = text.parse() {
            return Ok(Self::At { ip: Some(ip), port: None });
        }
        let place = text.parse::<SocketAddr>().ok();
        let place = place.and_then(|place| Some((place.ip(), NonZeroU16::new(place.port())?)));
        place
            .map(|(ip, port)| Self::At { ip: Some(ip), port: Some(port) })
            .ok_or_else(|| ServerAddressError(text.to_owned()))
    }
}

impl FromStr for AnyText {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for PoolRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match AddressRange::parse(text) {
            Ok((range, None)) => Ok(Self(range)),
            Ok((_, Some(masked))) => {
                Err(format!("{text:?}: is not the first address of a block, write {}", masked.block))
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

impl FromStr for PoolNamespace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_plain = text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        let is_name = (1..=63).contains(&text.len()) && is_plain && !text.starts_with('-');
        if is_name && !text.ends_with('-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?}: must be a namespace such as metallb-system"))
        }
    }
}

impl FromStr for LoadBalancerClass {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.is_empty() && text.len() <= 253 && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?}: must be a class such as example.com/internal"))
        }
    }
}

/// The values of `--detect-local-mode`: how connections of local pods are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DetectLocalMode {
    /// The source address is in --cluster-cidr.
    ClusterCidr,
    /// The source address is in a pod range of this node's Node object.
    NodeCidr,
    /// They enter through this bridge.
    BridgeInterface,
    /// They enter through an interface whose name begins so.
    InterfaceNamePrefix,
}

/// A mode needs this name of an interface, and it is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lacking {
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
    /// The default.
    pub(super) const USUAL: &str = "ClusterCIDR";
}

impl Lacking {
    /// The message for a file.
    pub(super) fn field(self) -> String {
        match self {
            Self::Bridge => "needs detectLocal.bridgeInterface, which is not given".into(),
            Self::Prefix => "needs detectLocal.interfaceNamePrefix, which is not given".into(),
        }
    }

    /// The message for a command line.
    pub(super) fn flag(self) -> &'static str {
        match self {
            Self::Bridge => "needs --pod-bridge-interface, which is not given",
            Self::Prefix => "needs --pod-interface-name-prefix, which is not given",
        }
    }
}

/// The detector that `mode` means.
pub(super) fn detector(
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
        match MODES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            Some((_, mode)) => Ok(*mode),
            None => Err("must be ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_placed_by_address_port_or_both() {
        let usual = "127.0.0.1:10256".parse().unwrap();
        for (text, place) in [
            ("", None),
            ("0.0.0.0", Some("0.0.0.0:10256")),
            ("::", Some("[::]:10256")),
            ("127.0.0.1:80", Some("127.0.0.1:80")),
            ("[fd00::1]:65535", Some("[fd00::1]:65535")),
        ] {
            let place: Option<SocketAddr> = place.map(|place| place.parse().unwrap());
            assert_eq!(text.parse::<ServerAddress>().unwrap().place(usual), place, "{text:?}");
        }
        for text in ["localhost:80", ":80", "0.0.0.0:0", "0.0.0.0:65536", "[::]", "10256"] {
            assert_eq!(text.parse::<ServerAddress>(), Err(ServerAddressError(text.into())));
        }
    }

    #[test]
    fn switches_are_gos() {
        for text in ["true", "True", "TRUE", "t", "T", "1"] {
            assert_eq!(text.parse(), Ok(Switch(true)));
        }
        for text in ["false", "False", "FALSE", "f", "F", "0"] {
            assert_eq!(text.parse(), Ok(Switch(false)));
        }
        for text in ["", "yes", "tRuE"] {
            assert_eq!(text.parse::<Switch>(), Err(SwitchError(text.into())));
        }
    }
}
