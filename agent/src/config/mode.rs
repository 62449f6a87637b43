//! kube-proxy's word for who programs the kernel, and what it means here.

use std::str::FromStr;

use crate::backend::Backend;

/// `--proxy-mode`, `mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProxyMode {
    /// Empty: the choice is ours.
    Unsaid,
    Nftables,
    Ipvs,
    /// kube-proxy's first way on Linux.
    Iptables,
}

/// Not such a word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ModeError {
    #[error("{0:?}: must be nftables, ipvs or iptables, or empty for nftables")]
    Unknown(String),
    #[error(
        "{0:?}: is kube-proxy's mode on Windows; on Linux it must be nftables, ipvs or iptables, or empty for nftables"
    )]
    Windows(String),
}

impl ProxyMode {
    /// What is remarked where iptables is asked for.
    pub(super) const IPTABLES: &str =
        "iptables: the nftables backend is used, which does the same for services; there is no iptables backend here";

    /// Who does it here, if anybody was named.
    pub(super) fn backend(self) -> Option<Backend> {
        match self {
            Self::Unsaid => None,
            Self::Nftables | Self::Iptables => Some(Backend::Nftables),
            Self::Ipvs => Some(Backend::Ipvs),
        }
    }
}

impl FromStr for ProxyMode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        match text.to_ascii_lowercase().as_str() {
            "" => Ok(Self::Unsaid),
            "nftables" => Ok(Self::Nftables),
            "ipvs" => Ok(Self::Ipvs),
            "iptables" => Ok(Self::Iptables),
            "kernelspace" => Err(ModeError::Windows(text.to_owned())),
            _ => Err(ModeError::Unknown(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kube_proxys_modes_are_understood_and_that_of_windows_is_refused() {
        for (text, backend) in [
            ("", None),
            ("nftables", Some(Backend::Nftables)),
            ("iptables", Some(Backend::Nftables)),
            ("IPVS", Some(Backend::Ipvs)),
        ] {
            assert_eq!(text.parse::<ProxyMode>().unwrap().backend(), backend, "{text:?}");
        }
        assert_eq!("kernelspace".parse::<ProxyMode>(), Err(ModeError::Windows("kernelspace".into())));
        assert_eq!("userspace".parse::<ProxyMode>(), Err(ModeError::Unknown("userspace".into())));
    }
}
